package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// A driver becomes read-only while a pod writes to its volume. (2 s)
func TestAReadOnlyDriverHasFewerCapabilitiesAndTakesNoVolumeFromAPod(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Register(t)
		writable := nodes.Volume{ID: "writable", Image: nodes.Numbered(2), Inline: true}
		file := filepath.Join(p.MustPublish(t, writable), "mine")
		if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.Stop(t, syscall.SIGTERM)
		p.Flags = append(p.Flags, "--"+contract.FlagAccess+"="+string(contract.AccessReadOnly))
		p.Start(t)
		p.Register(t)

		kept := privileges.Bits(privileges.Serving(contract.AccessReadOnly))
		for _, thread := range threadsOf(t, p) {
			if text := nodes.Read(t, thread, "status"); !strings.Contains(text, fmt.Sprintf("CapEff:\t%016x\n", kept)) {
				t.Errorf("%s has not the capabilities of read-only volumes: %s", thread, text)
			}
		}

		p.MustPublish(t, writable) // again, as after a restart of the kubelet
		if err := os.WriteFile(file, []byte("after"), 0o600); err != nil {
			t.Errorf("the pod that had a writable volume: %v", err)
		}
		_, err := p.Publish(t, nodes.Volume{ID: "another", Image: nodes.Numbered(2), Inline: true})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "readOnly: true") {
			t.Errorf("another writable volume: %v", err)
		}
		readOnly := p.MustPublish(t, nodes.Volume{ID: "read-only", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		if got := nodes.Read(t, readOnly, "top"); got != "1\n" {
			t.Errorf("the read-only volume holds %q", got)
		}
		p.Unpublish(t, "another") // which a kubelet does for a pod that never started
		p.Unpublish(t, "read-only")
		p.Unpublish(t, writable.ID)
		if left := p.Mounts(t); len(left) != 0 {
			t.Errorf("mounts are left: %q", left)
		}
	})
}

// threadsOf returns the directories in /proc of the plugin's threads.
func threadsOf(t *testing.T, p *nodes.Plugin) []string {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.PID(t)))
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads: %v", len(threads), err)
	}
	return threads
}
