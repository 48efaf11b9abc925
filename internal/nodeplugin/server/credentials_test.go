package server

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/credentials"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

const secretKey = ".dockerconfigjson"

func dockerConfig(registry, user string) string {
	return `{"auths":{"` + registry + `":{"username":"` + user + `","password":"hunter2"}}}`
}

func putSecret(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, secretKey), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheVolumesOwnCredentialsComeBeforeTheDrivers(t *testing.T) {
	dir := t.TempDir()
	putSecret(t, dir, "specific", dockerConfig("r.example/app", "driver-path"))
	putSecret(t, dir, "general", dockerConfig("r.example", "driver-host"))
	putSecret(t, dir, "elsewhere", dockerConfig("r.example.attacker.test", "attacker"))
	putSecret(t, dir, "broken", "hunter2")
	var got []string
	conn, log := serve(t, Config{Credentials: credentials.Directory(dir), Volumes: volumes{
		publish: func(_ context.Context, r volume.Request) error {
			for _, auth := range r.Auths {
				got = append(got, auth.GetUsername())
			}
			return nil
		},
	}})
	request := inline()
	request.Secrets = map[string]string{secretKey: dockerConfig("r.example", "volume")}
	if _, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if want := "volume driver-path driver-host"; strings.Join(got, " ") != want {
		t.Errorf("credentials of %q, want %q", got, want)
	}
	if said := log.String(); !strings.Contains(said, `\"broken\"`) || strings.Contains(said, "hunter2") {
		t.Errorf("the log does not name the broken secret, or holds its content: %s", said)
	}
}
