package nodeclass

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// RuntimeVersion is a node's container runtime as its status tells it.
type RuntimeVersion struct {
	// Name of the runtime: containerd, cri-o, docker, ….
	Name string
	// Version as the runtime spells it, without a promise of any form; may be empty.
	Version string
}

// ErrNoRuntime is the error for a node whose status does not have its container runtime.
var ErrNoRuntime = errors.New("the node does not report its container runtime")

// maxRuntimeVersion bounds what is taken from a node's status; real values have less than 40 bytes.
const maxRuntimeVersion = 128

// ParseRuntimeVersion reads status.nodeInfo.containerRuntimeVersion, "<name>://<version>" (Kubernetes API,
// NodeSystemInfo). It returns ErrNoRuntime when the text has another form.
func ParseRuntimeVersion(text string) (RuntimeVersion, error) {
	if len(text) > maxRuntimeVersion {
		return RuntimeVersion{}, fmt.Errorf("%w: the value has %d bytes", ErrNoRuntime, len(text))
	}
	name, version, found := strings.Cut(text, "://")
	if !found || name == "" || strings.EqualFold(name, unknownText) || !isPrintable(name) || !isPrintable(version) {
		return RuntimeVersion{}, fmt.Errorf("%w: %q is not <name>://<version>", ErrNoRuntime, text)
	}
	return RuntimeVersion{Name: strings.ToLower(name), Version: version}, nil
}

// isPrintable keeps text that cannot be shown out of messages and labels.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r == unicode.ReplacementChar || r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' '
	})
}
