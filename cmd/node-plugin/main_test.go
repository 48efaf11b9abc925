package main

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// parse reads flags as the program does.
func parse(t *testing.T, args ...string) (*options, error) {
	t.Helper()
	t.Setenv(contract.NodeNameEnv, "node-1")
	o := defaults()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.register(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, o.complete()
}

func TestDefaultsAreComplete(t *testing.T) {
	o, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if o.nodeName != "node-1" || o.policy != contract.PullIfNotPresent || o.pods != contract.AccessReadWrite || o.httpAddress != ":8080" || o.liveAddress != "" || o.releaseAfter != time.Minute || o.orphanAfter != 10*time.Minute || o.legacyMetrics ||
		o.runtimeEndpoint != "unix:///run/containerd/containerd.sock" || o.mountMode != contract.ModeNsenter {
		t.Errorf("defaults %+v", o)
	}
}

func TestEveryFlagIsHeard(t *testing.T) {
	o, err := parse(t, "--driver-name=a.example", "--alias=b.example", "--alias=a.example", "--alias=c.example", "--node-name=n",
		"--runtime=cri-o", "--mount-mode=Bidirectional", "--kubelet-root=/data/kubelet/", "--storage-root=/data/storage",
		"--http-address=127.0.0.1:1", "--live-address=127.0.0.1:2", "--provider-socket=/run/p.sock", "--pull-policy=Never", "--access=ReadOnly", "--max-parallel-pulls=2", "--default-size-limit=1Gi", "--max-size-limit=2Gi", "--limit-fallback=Memory", "--release-after=1s", "--orphan-after=2s", "--warm-metal-metrics", "--confinement=container=Unprivileged;appArmor=Localhost/a", "--sandbox-profile=imagecsi/a.json", "--log-level=debug")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(o.names(), " "); got != "a.example b.example c.example" {
		t.Errorf("names %s", got)
	}
	if o.nodeName != "n" || o.runtimeEndpoint != "unix:///run/crio/crio.sock" || o.kubeletRoot != "/data/kubelet" ||
		o.pluginDir() != "/data/kubelet/plugins/a.example" || o.storageRoot != "/data/storage" || o.policy != contract.PullNever ||
		o.pods != contract.AccessReadOnly || o.maxParallelPulls != 2 || o.limits.Default != 1<<30 || o.limits.Max != 2<<30 || o.fallback != contract.FallbackMemory || o.releaseAfter != time.Second || o.orphanAfter != 2*time.Second || !o.legacyMetrics || o.level != slog.LevelDebug || o.httpAddress != "127.0.0.1:1" || o.liveAddress != "127.0.0.1:2" || o.providerSocket != "/run/p.sock" || o.sandboxProfile != "imagecsi/a.json" ||
		o.container != (contract.Confinement{Unprivileged: true, AppArmor: "Localhost/a"}) {
		t.Errorf("options %+v", o)
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	_, err := parse(t, "--driver-name=../a", "--alias=", "--node-name=", "--runtime=docker", "--mount-mode=Sideways", "--kubelet-root=/",
		"--storage-root=x", "--provider-socket=y", "--pull-policy=Maybe", "--access=Some", "--max-parallel-pulls=0", "--default-size-limit=2Gi", "--max-size-limit=1Gi", "--limit-fallback=Loop", "--release-after=0s", "--orphan-after=-1s", "--confinement=container=Rootless", "--log-level=loud")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"../a"`, "--node-name", `"docker"`, `"Sideways"`, "--kubelet-root", "--storage-root", "--provider-socket", `"Maybe"`, `"Some"`,
		"--max-parallel-pulls", "--default-size-limit", `"Loop"`, "--release-after", "--orphan-after", `"Rootless"`, `"loud"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in:\n%v", want, err)
		}
	}
}

func TestAFailedStartSaysWhatItLacksAndTakesItselfApart(t *testing.T) {
	if _, err := os.Stat(contract.HostNamespacePath); err == nil {
		t.Skip("the host's namespaces are mounted here")
	}
	o, err := parse(t, "--kubelet-root="+t.TempDir(), "--http-address=")
	if err != nil {
		t.Fatal(err)
	}
	_, err = start(t.Context(), o, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), contract.HostNamespacePath) || !strings.Contains(err.Error(), "Nsenter") {
		t.Errorf("got %v", err)
	}
}
