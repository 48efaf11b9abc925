package node

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// private is the reference of an image that only its owner may pull. Each test has one of its own, with the same
// layers, as a node remembers who pulled what.
func private(host, user, test string) string {
	return host + "/private/" + user + "/" + test + ":1"
}

func pushPrivate(ctx context.Context, c *cluster.Cluster) error {
	made, err := image.Numbered(2)
	if err != nil {
		return err
	}
	for _, test := range []string{"cached", "look-alike", "rotated", "logged", "provided", "full"} {
		if err := c.Push(ctx, private("", "alice", test)[1:], made); err != nil {
			return err
		}
	}
	return nil
}

// secretOf is a pull secret for a registry.
func secretOf(host, user, password string) map[string]string {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return map[string]string{".dockerconfigjson": fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)}
}

func secretFor(host, user string) map[string]string {
	return secretOf(host, user, cluster.RegistryPassword(user))
}

// keepsSecrets wants no secret in what the plugin said, as it is or encoded.
func keepsSecrets(t *testing.T, p *nodes.Plugin, answers ...error) {
	t.Helper()
	for _, user := range []string{"alice", "bob"} {
		password := cluster.RegistryPassword(user)
		for _, secret := range []string{password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password))} {
			if strings.Contains(p.Said(), secret) {
				t.Errorf("the log tells the credentials of %s", user)
			}
			for _, answer := range answers {
				if strings.Contains(fmt.Sprint(answer), secret) {
					t.Errorf("an answer tells the credentials of %s: %v", user, answer)
				}
			}
		}
	}
}

// setSecret gives the driver a secret of its own as the kubelet would, by swapping what a name leads to.
func setSecret(t *testing.T, p *nodes.Plugin, name string, data map[string]string) {
	t.Helper()
	dir := filepath.Join(p.Target.Root(), p.CredentialsDir())
	version := fmt.Sprintf("..%x", time.Now().UnixNano())
	if err := os.MkdirAll(filepath.Join(dir, version, name), 0o755); err != nil {
		t.Fatal(err)
	}
	for key, value := range data {
		if err := os.WriteFile(filepath.Join(dir, version, name, key), []byte(value), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(version, name), filepath.Join(dir, version+".link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, version+".link"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, p *nodes.Plugin, what string, v nodes.Volume, words ...string) error {
	t.Helper()
	_, err := p.Publish(t, v)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("%s: %v, want PermissionDenied", what, err)
	}
	for _, word := range words {
		if !strings.Contains(fmt.Sprint(err), word) {
			t.Errorf("%s: %q does not say %q", what, err, word)
		}
	}
	return err
}

func TestAPrivateImageOnTheNodeIsMountedForThoseWhoMayPullIt(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		// By the registry's own address: CRI-O gives credentials to no mirror.
		host := suite.Registry()
		image := private(host, "alice", "cached")
		as := func(id string, secrets map[string]string) nodes.Volume {
			return nodes.Volume{ID: id, Image: image, Inline: true, ReadOnly: true, Secrets: secrets}
		}
		var answers []error
		refuse := func(what string, v nodes.Volume, words ...string) {
			answers = append(answers, refused(t, p, what, v, words...))
		}

		refuse("no secret, image absent", as("none", nil), "the registry refuses")
		p.MustPublish(t, as("alice", secretFor(host, "alice")))
		const clear = "is on this node, but the registry does not give it to this volume"
		refuse("no secret", as("none", nil), clear)
		named := as("named", nil)
		named.Attributes = map[string]string{contract.SecretAttribute: "alice", contract.SecretNamespaceAttribute: "default"}
		refuse("a secret named by attributes", named, clear, "the volume attributes secret and secretNamespace are not read")
		refuse("the secret of another user", as("bob", secretFor(host, "bob")), clear)
		refuse("a wrong password", as("guess", secretOf(host, "alice", "guess")), clear)

		never := as("never", secretFor(host, "bob"))
		never.Attributes = map[string]string{"pullPolicy": "Never"}
		refuse("never pulled with this secret", never, "pullPolicy Never")
		never.Secrets = secretFor(host, "alice")
		p.MustPublish(t, never)

		p.Stop(t, syscall.SIGTERM)
		keepsSecrets(t, p, answers...)
		p.Start(t)
		refuse("no secret, after a restart", as("none", nil), clear)
		path := p.MustPublish(t, as("again", secretFor(host, "alice")))
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("/top holds %q", got)
		}
		for _, id := range []string{"alice", "never", "again"} {
			p.Unpublish(t, id)
		}
		if got := p.Mounts(t); len(got) != 0 {
			t.Errorf("mounts are left: %q", got)
		}
		p.Stop(t, syscall.SIGTERM)
		keepsSecrets(t, p)
		p.Target.RemoveImage(t, image)
	})
}

func TestCredentialsReachTheirRegistryOnly(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.Runtime == contract.RuntimeCRIO {
			t.Skip("every name but the registry's own leads to a mirror, and CRI-O gives credentials to no mirror")
		}
		const host = "registry.example"
		secret := secretFor(host, "alice")
		setSecret(t, p, "of-the-driver", secret)
		v := nodes.Volume{ID: "owner", Image: private(host, "alice", "look-alike"), Inline: true, Secrets: secret}
		p.MustPublish(t, v)
		p.Unpublish(t, v.ID)
		// Every name leads to the same registry here, so credentials that reached a look-alike would open the image.
		for _, lookAlike := range []string{host + ".attacker.test", "my-" + host, host + ":5000"} {
			v := nodes.Volume{ID: "look-alike", Image: private(lookAlike, "alice", "look-alike"), Inline: true, Secrets: secret}
			keepsSecrets(t, p, refused(t, p, lookAlike, v, "the registry refuses"))
		}
	})
}

func TestARotatedSecretOfTheDriverCountsWithoutARestart(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		host := suite.Registry()
		image := private(host, "alice", "rotated")
		v := func(id string) nodes.Volume { return nodes.Volume{ID: id, Image: image, Inline: true, ReadOnly: true} }

		answers := []error{refused(t, p, "no secret at all", v("early"), "the registry refuses")}
		setSecret(t, p, "registry", secretOf(host, "alice", "yesterday"))
		answers = append(answers, refused(t, p, "yesterday's password", v("early"), "the registry refuses"))
		setSecret(t, p, "registry", secretFor(host, "alice"))
		p.MustPublish(t, v("driver"))

		both := v("both")
		both.Secrets = secretFor(host, "bob") // of no use here; the driver's comes next
		p.MustPublish(t, both)

		setSecret(t, p, "registry", nil)
		answers = append(answers, refused(t, p, "the secret is gone", v("late"), "is on this node, but"))
		p.Unpublish(t, "driver")
		p.Unpublish(t, "both")
		p.Stop(t, syscall.SIGTERM)
		keepsSecrets(t, p, answers...)
		p.Target.RemoveImage(t, image)
	})
}
