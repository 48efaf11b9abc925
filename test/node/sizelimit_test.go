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

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// Whether a node can limit a volume is up to its kernel and its file system; either answer has to be true.
func TestASizeLimitHoldsOrIsRefused(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		v := nodes.Volume{ID: "limited", Image: nodes.Numbered(2), Inline: true, Attributes: map[string]string{"sizeLimit": "8Mi"}}
		path, err := p.Publish(t, v)
		if err != nil {
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "asks for a limit of 8Mi") || !strings.Contains(err.Error(), "prjquota") {
				t.Errorf("refused with %v", err)
			}
			wantData(t, p, 0)
			v.Attributes = nil
			path = p.MustPublish(t, v)
			if err := os.WriteFile(filepath.Join(path, "big"), make([]byte, 16<<20), 0o644); err != nil {
				t.Errorf("without a limit: %v", err)
			}
			p.Unpublish(t, "limited")
			return
		}
		err = os.WriteFile(filepath.Join(path, "big"), make([]byte, 16<<20), 0o644)
		if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("16 MiB in a volume of 8: %v", err)
		}
		if bytes, _ := usage(t, p, "limited"); bytes.GetTotal() != 8<<20 {
			t.Errorf("statistics show %v", bytes)
		}
		p.Unpublish(t, "limited")
	})
}

func TestABadSizeLimitIsRefused(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		_, err := p.Publish(t, nodes.Volume{ID: "bad-limit", Image: nodes.Numbered(1), Inline: true, Attributes: map[string]string{"sizeLimit": "much"}})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "500Mi") {
			t.Errorf("got %v", err)
		}
	})
}
