package sandboxprofile

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// maxProfile bounds a file in the profile's place. A profile has some six kilobytes.
const maxProfile = 1 << 20

// Files are the node's, beneath the kubelet's root.
type Files interface {
	ReadFile(ctx context.Context, file string, limit int64) ([]byte, error)
	WriteFile(ctx context.Context, file, draft string, content []byte) error
}

// Profile is the profile of this release on one node. Profiles of other releases have other names and stay: a container that is
// created again needs the one that its pod names, and nobody on the node knows which pods there will be.
type Profile struct {
	files   Files
	file    string
	draft   string
	asked   string
	name    string
	content []byte
	writing sync.Mutex // the draft is one
}

// New returns the profile that the operator asks for by its name. Drafts have the driver's name, because several drivers keep the
// same profile.
func New(files Files, kubeletRoot, driver, asked string) *Profile {
	return &Profile{
		files: files, asked: asked, name: sandbox.Name(), content: sandbox.Profile(runtime.GOARCH),
		file: filepath.Join(kubeletRoot, contract.SeccompDir, sandbox.Name()), draft: "." + driver + ".new",
	}
}

// Ready returns nil if the profile is on the node, and puts it there if it is missing or another.
func (p *Profile) Ready(ctx context.Context) error {
	if p.asked != p.name {
		return fmt.Errorf("the operator asks for seccomp profile %s on the node, and this node plugin has %s: they are of different releases; "+
			"clear spec.nodePlugin.image, or set it to the operator's release", p.asked, p.name)
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if there, err := p.files.ReadFile(ctx, p.file, maxProfile); err == nil && bytes.Equal(there, p.content) {
		return nil
	}
	if err := p.files.WriteFile(ctx, p.file, p.draft, p.content); err != nil {
		return fmt.Errorf("pods of sandboxes lack their seccomp profile: %w", err)
	}
	return nil
}
