package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/registration"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// hanging is a mount table that cannot be read, and fails only when it is allowed to.
type hanging struct {
	volume.Mounter
	asked chan struct{}
	end   chan struct{}
}

func (h hanging) Mounts(context.Context) ([]hostmount.Mount, error) {
	select {
	case h.asked <- struct{}{}:
	default:
	}
	<-h.end
	return nil, errors.ErrUnsupported
}

func TestTheKubeletIsToldOfTheEndBeforeASweepHasEnded(t *testing.T) {
	sweep := hanging{asked: make(chan struct{}, 1), end: make(chan struct{})}
	node, err := volume.New(volume.Config{Driver: "a.example", KubeletRoot: t.TempDir(), Mounter: sweep})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	sockets := t.TempDir()
	p := &plugin{log: log, node: node, registrar: registration.New([]registration.Driver{{Name: "a.example"}}, log), failed: make(chan error, 1)}
	if err := p.registrar.Start(sockets); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	<-sweep.asked
	cancel()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(sockets, "a.example-reg.sock")); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Error("the registration is not removed while a sweep goes on")
			break
		}
	}
	close(sweep.end)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
