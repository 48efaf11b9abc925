package faults

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// privateImage is alice's alone.
const privateImage = "private/alice/faults:1"

func pushPrivate(ctx context.Context, c *cluster.Cluster) error {
	made, err := image.Data([]image.File{{Path: "/alices", Content: []byte(data)}})
	if err != nil {
		return err
	}
	return c.Push(ctx, privateImage, made)
}

// Whatever a pull with credentials leaves when the plugin is killed, no volume gets the image without them.
func TestPublishOfAPrivateImageIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		alice := nodes.Volume{ID: "alice", Image: suite.Registry() + "/" + privateImage, Inline: true, ReadOnly: true, Secrets: secretOf("alice")}
		nobody := alice
		nobody.ID, nobody.Secrets = "nobody", nil
		publish := func(t *testing.T, p *nodes.Plugin) error {
			_, err := p.Publish(t, alice)
			return err
		}
		after := func(t *testing.T, p *nodes.Plugin) {
			t.Helper()
			wantRefused(t, p, nobody)
			if got := nodes.Read(t, publishAgain(t, p, alice), "alices"); got != data {
				t.Errorf("alice reads %q", got)
			}
			wantRefused(t, p, nobody)
			p.Unpublish(t, alice.ID)
			p.Unpublish(t, nobody.ID)
			p.Stop(t, syscall.SIGTERM) // which unpins the image
			p.Target.RemoveImage(t, alice.Image)
			forgetWhoPulled(t, p)
			p.Start(t)
		}
		p.MustPublish(t, alice)
		after(t, p)
		killAtEveryStep(t, p, history{killed: publish, after: after})
	})
}

// publishAgain publishes a volume as the kubelet does, which tries again. CRI-O has a pull join one that is under way, and that
// one ends with the plugin that was killed.
func publishAgain(t *testing.T, p *nodes.Plugin, v nodes.Volume) (path string) {
	t.Helper()
	poll.Until(t, "publish "+v.ID, time.Minute, func() (err error) {
		if path, err = p.Publish(t, v); err != nil && status.Code(err) != codes.Unavailable && status.Code(err) != codes.Aborted {
			t.Fatal(err)
		}
		return err
	})
	return path
}

// forgetWhoPulled makes the next pull the first one of its image.
func forgetWhoPulled(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "access/*.json"))
	if err != nil || len(records) == 0 {
		t.Errorf("there are no records of who pulled what (%v)", err)
	}
	for _, record := range records {
		if err := os.Remove(record); err != nil {
			t.Error(err)
		}
	}
}

// wantRefused waits until it is decided whether a volume gets its image, and wants it refused.
func wantRefused(t *testing.T, p *nodes.Plugin, v nodes.Volume) {
	t.Helper()
	poll.Until(t, "an answer to "+v.ID, time.Minute, func() error {
		switch _, err := p.Publish(t, v); status.Code(err) {
		case codes.PermissionDenied:
			return nil
		case codes.Aborted, codes.Unavailable:
			return err
		default:
			t.Fatalf("a volume without credentials gets %v", err)
			return nil
		}
	})
}

func secretOf(user string) map[string]string {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + cluster.RegistryPassword(user)))
	return map[string]string{".dockerconfigjson": fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, suite.Registry(), auth)}
}
