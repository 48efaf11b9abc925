// Package project builds the project's own programs and image from the checkout that the caller runs in.
package project

import (
	"context"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// Repository and Tag name the operator's image in config/ and in the cluster's registry.
const (
	Repository = "image-csi/image-csi-operator"
	Tag        = "v0.1.0"
)

// tags are the Makefile's.
const tags = "grpcnotrace"

// Binaries are the paths of the programs that a build made.
type Binaries struct {
	Manager, NodePlugin, CredentialProvider string
}

// Build compiles the checkout's programs, statically, into dir. A second build is short.
func Build(ctx context.Context, dir string) (Binaries, error) {
	root, err := checkout.Root()
	if err != nil {
		return Binaries{}, err
	}
	return BuildFrom(ctx, root, dir, Tag)
}

// BuildFrom is Build for the sources in another directory, and for programs that say that they are of a certain version.
func BuildFrom(ctx context.Context, sources, dir, version string) (Binaries, error) {
	b := Binaries{
		Manager:            filepath.Join(dir, "manager"),
		NodePlugin:         filepath.Join(dir, "node-plugin"),
		CredentialProvider: filepath.Join(dir, "credential-provider"),
	}
	for _, program := range []string{b.Manager, b.NodePlugin, b.CredentialProvider} {
		if err := gobuild.Program(ctx, sources, "./cmd/"+filepath.Base(program), program, "-tags="+tags, "-ldflags=-X main.version="+version); err != nil {
			return Binaries{}, fmt.Errorf("build the operator's programs: %w", err)
		}
	}
	return b, nil
}

// Image assembles the operator's image from built programs.
func (b Binaries) Image() (v1.Image, error) {
	return image.Operator(b.Manager, b.NodePlugin, b.CredentialProvider)
}

// Registry takes images, as a cluster does.
type Registry interface {
	Push(ctx context.Context, reference string, image v1.Image) error
}

// Push puts what every installation needs into a registry: the operator's image under the name in config/, and a shell
// for pods as library/busybox:1.
func (b Binaries) Push(ctx context.Context, registry Registry) error {
	operator, err := b.Image()
	if err != nil {
		return err
	}
	busybox, err := image.Busybox()
	if err != nil {
		return err
	}
	if err := registry.Push(ctx, Repository+":"+Tag, operator); err != nil {
		return err
	}
	return registry.Push(ctx, "library/busybox:1", busybox)
}
