package node

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

func TestTheLogNamesVolumePodAndImageAndNoSecret(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		host := suite.Registry()
		image := private(host, "alice", "logged")
		setSecret(t, p, "of-the-driver", secretFor(host, "bob"))
		own := nodes.Volume{ID: "logged", Image: image, Inline: true, ReadOnly: true, Secrets: secretFor(host, "alice")}
		foreign := nodes.Volume{ID: "logged-refused", Image: image, Inline: true, ReadOnly: true, Secrets: secretOf(host, "alice", "no-such-password")}
		p.MustPublish(t, own)
		_ = refused(t, p, "a wrong password", foreign)
		told := ""
		for _, path := range []string{liveview.InfoPath, liveview.VolumesPath, liveview.ImagesPath, liveview.PullsPath, liveview.OrphansPath} {
			told += p.Live(t, path)
		}
		if !strings.Contains(told, image) {
			t.Errorf("the live view lacks %s: %s", image, told)
		}
		p.Unpublish(t, own.ID)
		p.Unpublish(t, foreign.ID)

		// Of every line that matters, the keys by which it is found.
		wanted := map[string]map[string]string{
			"NodePublishVolume":   {"volume": p.VolumeID(own.ID), "pod": "default/pod-" + own.ID, "image": image, "code": "OK"},
			"NodeUnpublishVolume": {"volume": p.VolumeID(own.ID), "target": p.Path(own.ID), "code": "OK"},
			"pulling image":       {"image": image, "pod": "default/pod-" + own.ID},
			"image pulled":        {"image": image, "pod": "default/pod-" + own.ID},
		}
		for line := range strings.Lines(p.Said()) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("%q is not a structured line: %v", line, err)
				continue
			}
			for _, key := range []string{"method", "msg"} {
				name, _ := entry[key].(string)
				if want, ok := wanted[name]; ok && holds(entry, want) {
					delete(wanted, name)
				}
			}
		}
		for name, keys := range wanted {
			t.Errorf("no line %q has %v; the log: %s", name, keys, p.Said())
		}
		keepsSecrets(t, p)
		for _, secret := range []string{cluster.RegistryPassword("alice"), cluster.RegistryPassword("bob"), "no-such-password", secretFor(host, "bob")[".dockerconfigjson"]} {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(p.Said(), form) {
					t.Errorf("the log tells a secret: %s", form)
				}
				if strings.Contains(told, form) {
					t.Errorf("the live view tells a secret: %s", form)
				}
			}
		}
	})
}

func holds(entry map[string]any, want map[string]string) bool {
	for key, value := range want {
		if entry[key] != value {
			return false
		}
	}
	return true
}
