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

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// sizeLimited is a volume of 8 MiB.
func sizeLimited(id string) nodes.Volume {
	return nodes.Volume{ID: id, Image: nodes.Numbered(2), Inline: true, Attributes: map[string]string{contract.SizeLimitAttribute: "8Mi"}}
}

// Whether a node can limit a volume is up to its kernel and its file system.
func TestASizeLimitHoldsWhereThereAreQuotasAndIsRefusedElsewhere(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.HasQuotas(t) {
			wantLimit(t, p.MustPublish(t, sizeLimited("limited")))
			if bytes, _ := usage(t, p, "limited"); bytes.GetTotal() != 8<<20 {
				t.Errorf("statistics show %v", bytes)
			}
			p.Unpublish(t, "limited")
			return
		}
		_, err := p.Publish(t, sizeLimited("limited"))
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "asks for a limit of 8Mi") || !strings.Contains(err.Error(), "prjquota") {
			t.Errorf("refused with %v", err)
		}
		wantNothingOf(t, p, "limited", 0)
		free := sizeLimited("limited")
		free.Attributes = nil
		wantRoom(t, p.MustPublish(t, free))
		p.Unpublish(t, "limited")
	})
}

// wantLimit wants no room for 16 MiB in a volume.
func wantLimit(t *testing.T, path string) {
	t.Helper()
	err := os.WriteFile(filepath.Join(path, "big"), make([]byte, 16<<20), 0o644)
	if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("16 MiB in a volume of 8: %v", err)
	}
}

// wantRoom wants room for 16 MiB in a volume.
func wantRoom(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path, "big"), make([]byte, 16<<20), 0o644); err != nil {
		t.Errorf("16 MiB in a volume without a limit: %v", err)
	}
}

func TestABadSizeLimitIsRefused(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		_, err := p.Publish(t, nodes.Volume{ID: "bad-limit", Image: nodes.Numbered(1), Inline: true, Attributes: map[string]string{"sizeLimit": "much"}})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "500Mi") {
			t.Errorf("got %v", err)
		}
	})
}
