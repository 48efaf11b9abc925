package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Whether a node can limit a volume is up to its kernel and its file system; either answer has to be true.
func TestASizeLimitHoldsOrIsRefused(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		v := volume{id: "limited", image: numbered(2), inline: true, attributes: map[string]string{"sizeLimit": "8Mi"}}
		path, err := p.publish(t, v)
		if err != nil {
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "asks for a limit of 8Mi") || !strings.Contains(err.Error(), "prjquota") {
				t.Errorf("refused with %v", err)
			}
			if left, err := filepath.Glob(filepath.Join(p.target.root(), kubeletRoot, "plugins", p.driver, "volumes", "*")); err != nil || len(left) != 0 {
				t.Errorf("left %v (%v)", left, err)
			}
			v.attributes = nil
			path = p.mustPublish(t, v)
			if err := os.WriteFile(filepath.Join(path, "big"), make([]byte, 16<<20), 0o644); err != nil {
				t.Errorf("without a limit: %v", err)
			}
			p.unpublish(t, "limited")
			return
		}
		err = os.WriteFile(filepath.Join(path, "big"), make([]byte, 16<<20), 0o644)
		if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("16 MiB in a volume of 8: %v", err)
		}
		if bytes, _ := p.usage(t, "limited"); bytes.GetTotal() != 8<<20 {
			t.Errorf("statistics show %v", bytes)
		}
		p.unpublish(t, "limited")
	})
}

func TestABadSizeLimitIsRefused(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		_, err := p.publish(t, volume{id: "bad-limit", image: numbered(1), inline: true, attributes: map[string]string{"sizeLimit": "much"}})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "500Mi") {
			t.Errorf("got %v", err)
		}
	})
}
