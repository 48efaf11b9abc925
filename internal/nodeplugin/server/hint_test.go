package server

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

func TestASecretNamedByAttributesIsToldToBeUnreadAndIsNoError(t *testing.T) {
	const pod = "csi.storage.k8s.io/pod.name"
	for name, c := range map[string]struct {
		request      *csi.NodePublishVolumeRequest
		err          error
		logged, told bool
	}{
		"the image is open":       {inline(pod, "p", "secret", "s", "secretNamespace", "n"), nil, true, false},
		"the image is refused":    {inline(pod, "p", "secret", "s"), &pull.Error{Kind: pull.Denied}, true, true},
		"it is not this volume's": {inline(pod, "p", "secretNamespace", "n"), &pull.Error{Kind: pull.NotYours}, true, true},
		"something else is wrong": {inline(pod, "p", "secret", "s"), errors.New("else"), true, false},
		"no secret is named":      {inline(pod, "p", "secret", ""), &pull.Error{Kind: pull.Denied}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn, log := serve(t, Config{Volumes: volumes{publish: func(context.Context, volume.Request) error { return c.err }}})
			_, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), c.request)
			if (err == nil) != (c.err == nil) || (err != nil && status.Code(err) != codeOf(c.err)) {
				t.Errorf("got %v, want the code of %v", err, c.err)
			}
			const sentence = "not read; name the secret in nodePublishSecretRef"
			if got := err != nil && strings.Contains(err.Error(), sentence); got != c.told {
				t.Errorf("the error has it: %v, want %v: %v", got, c.told, err)
			}
			line := ""
			for said := range strings.Lines(log.String()) {
				if strings.Contains(said, `"WARN"`) && strings.Contains(said, sentence) && !strings.Contains(said, `"CSI call"`) {
					line = said
				}
			}
			if got := strings.Contains(line, `"volume":"csi-1"`) && strings.Contains(line, `"pod":"/p"`); got != c.logged {
				t.Errorf("the log has it: %v, want %v: %s", got, c.logged, log)
			}
		})
	}
}
