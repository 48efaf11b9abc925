package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// unique is an image with a layer that no other image has, so that it has to be downloaded.
func unique(t *testing.T) v1.Image {
	t.Helper()
	return uniqueOf(t, 1<<20)
}

// uniqueOf is one of that many bytes.
func uniqueOf(t *testing.T, size int) v1.Image {
	t.Helper()
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	made, err := image.Data([]image.File{{Path: "/data", Content: content}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// publishToItsEnd publishes as often as the kubelet would until the pull has ended; CRI-O tries for a minute.
func publishToItsEnd(t *testing.T, p *nodes.Plugin, v nodes.Volume) error {
	t.Helper()
	var err error
	for range 4 {
		if _, err = p.Publish(t, v); status.Code(err) != codes.Aborted {
			break
		}
	}
	return err
}

// A fault of a registry is one sentence with the right code, and over when the registry is well again.
func TestARegistryThatFailsIsExplainedAndTriedAgain(t *testing.T) {
	faults := map[string]struct {
		code codes.Code
		word string // in the error
	}{
		"401":    {codes.PermissionDenied, "the registry refuses to give out image"},
		"403":    {codes.PermissionDenied, "the registry refuses to give out image"},
		"404":    {codes.NotFound, "does not exist in its registry"},
		"429":    {codes.ResourceExhausted, "limits the rate of pulls"},
		"400":    {codes.Unavailable, "the kubelet will try again"},
		"500":    {codes.Unavailable, "fails to give it out"},
		"503":    {codes.Unavailable, "fails to give it out"},
		"cut":    {codes.Unavailable, "fails to give it out"},
		"digest": {codes.DataLoss, "gives out a corrupt image"},
	}
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for kind, want := range faults {
			repository := fmt.Sprintf("faulty/%s/%s", kind, p.Target.Name)
			suite.Push(t, repository+":1", unique(t))
			v := nodes.Volume{ID: "faulty", Image: suite.Registry() + "/" + repository + ":1", Inline: true, ReadOnly: true,
				Secrets: secretFor(suite.Registry(), "alice")}
			err := publishToItsEnd(t, p, v)
			t.Logf("%s: %v", kind, err)
			if status.Code(err) != want.code || !strings.Contains(fmt.Sprint(err), want.word) || !strings.Contains(fmt.Sprint(err), v.Image) {
				t.Errorf("%s: got %v, want %s with %q", kind, err, want.code, want.word)
			}
			if length := len(status.Convert(err).Message()); length > 600 {
				t.Errorf("%s: the error has %d bytes", kind, length)
			}
			keepsSecrets(t, p, err)
			suite.Push(t, repository+":healed", unique(t))
			if err := publishToItsEnd(t, p, v); err != nil {
				t.Fatalf("%s, healed: %v", kind, err)
			}
			path := filepath.Join(p.Target.Root(), p.Path(v.ID))
			if got := nodes.Read(t, filepath.Join(path, "data")); len(got) != 1<<20 {
				t.Errorf("%s: %d bytes of data", kind, len(got))
			}
			p.Unpublish(t, v.ID)
		}
	})
}

// halfPulled is what the runtimes let a pod's event tell of an image of 8 MiB whose second half does not come.
var halfPulled = map[string]*regexp.Regexp{
	contract.RuntimeContainerd: regexp.MustCompile(`is still being pulled \(\d+s elapsed; [1-4]\.\d MiB of 8\.0 MiB of its layers are on this node\)`),
	contract.RuntimeCRIO:       regexp.MustCompile(`is still being pulled \(\d+s elapsed; the container runtime does not report progress\)`),
}

func TestARegistryThatHangsIsReportedAndNotAskedTwice(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		repository := "faulty/hang/" + p.Target.Name
		suite.Push(t, repository+":1", uniqueOf(t, 8<<20))
		v := nodes.Volume{ID: "hanging", Image: suite.Registry() + "/" + repository + ":1", Inline: true, ReadOnly: true}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			_, err := p.NodePublishVolume(ctx, v.Request(p.Path(v.ID)))
			cancel()
			t.Log(err)
			if status.Code(err) != codes.Aborted || !halfPulled[p.Target.Runtime].MatchString(err.Error()) {
				t.Errorf("while it hangs: %v", err)
			}
		}
		suite.Push(t, repository+":healed", unique(t))
		p.MustPublish(t, v)
		p.Unpublish(t, v.ID)
		if got := strings.Count(p.Said(), `"msg":"pulling image"`); got != 1 {
			t.Errorf("%d pulls, want one", got)
		}
		p.Stop(t, syscall.SIGTERM)
	})
}

func TestARegistryThatIsAwayIsReportedUntilItIsBack(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		repository := "away/" + p.Target.Name + ":1"
		suite.Push(t, repository, unique(t))
		v := nodes.Volume{ID: "away", Image: suite.Registry() + "/" + repository, Inline: true, ReadOnly: true}
		host, _, err := net.SplitHostPort(suite.Registry())
		if err != nil {
			t.Fatal(err)
		}
		p.Target.Run(t, "ip", "route", "add", "unreachable", host+"/32")
		back := sync.OnceFunc(func() { p.Target.Run(t, "ip", "route", "del", "unreachable", host+"/32") })
		t.Cleanup(back)
		err = publishToItsEnd(t, p, v)
		t.Log(err)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot be reached from this node") {
			t.Errorf("got %v", err)
		}
		back()
		if err := publishToItsEnd(t, p, v); err != nil {
			t.Error(err)
		}
		p.Unpublish(t, v.ID)
	})
}
