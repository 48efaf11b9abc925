package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/confinement"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

const driver = "kernel.test"

// pluginDir is the node plugin's own directory, at the same path on the node and in its container.
const pluginDir = kubeletRoot + "/plugins/" + driver

// writableDir holds the data of the writable volume, where the node plugin would have it.
const writableDir = pluginDir + "/volumes/writable"

// The volumes that are published.
const (
	readOnlyVolume = "read-only"
	oneLayerVolume = "one-layer"
	writableVolume = "writable"
)

func target(volume string) string {
	return filepath.Join(kubeletRoot, "pods/0f5c/volumes/kubernetes.io~csi", volume, "mount")
}

// volumes describes what is published.
func volumes() []hostmount.Overlay {
	all := []hostmount.Overlay{
		{Target: target(readOnlyVolume), Layers: layers()},
		{Target: target(oneLayerVolume), Layers: layers()[imageLayers-1:]},
		{Target: target(writableVolume), Layers: layers(), Upper: writableDir + "/upper", Work: writableDir + "/work"},
	}
	for i := range all {
		all[i].Source, all[i].Empty = "imagecsi:"+driver, pluginDir+"/empty"
	}
	return all
}

// nodePlugin does in its container what the node plugin does.
func nodePlugin(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), containerPatience)
	defer cancel()
	switch args[0] {
	case "denied":
		return denied(ctx, args[1:])
	case "told":
		return told(ctx, args[1], args[2])
	case "reaches":
		return reaches(args[1])
	}
	label := ""
	if args[0] == "publish-labelled" {
		label = args[1]
	}
	engine, err := openEngine(ctx, label)
	if err != nil {
		return err
	}
	defer engine.Close()
	switch args[0] {
	case "publish", "publish-labelled":
		return publish(ctx, engine)
	case "unpublish":
		return unpublish(ctx, engine)
	case "publish-memory":
		return publishMemory(ctx, engine)
	case "unpublish-memory":
		return engine.Unmount(ctx, target(memoryVolume))
	case "show-linked":
		return showLinked(ctx, engine)
	case "hide-linked":
		return engine.Unmount(ctx, target(linkedVolume))
	case "refuse-linked":
		return isRefused(engine.MountBind(ctx, linkedBind()), args[1])
	case "show-copy":
		return showCopy(ctx, engine)
	case "hide-copy":
		return hideCopy(ctx, engine)
	case "refuse-copy":
		return isRefused(showCopy(ctx, engine), args[1])
	case "show-file":
		return showFile(ctx, engine)
	case "hide-file":
		return engine.Unmount(ctx, target(fileVolume))
	case "refuse-file":
		return refuseFile(ctx, engine, args[1])
	case "upper-in-snapshots":
		return upperInSnapshots(ctx, engine)
	}
	return fmt.Errorf("the node plugin cannot %s", args[0])
}

// openEngine starts as the node plugin starts: the engine, its test of itself, and its confinement. A label is for the files of volumes.
func openEngine(ctx context.Context, label string) (*hostmount.Engine, error) {
	engine, err := hostmount.Open(ctx, hostmount.Config{NamespaceDir: contract.HostNamespacePath, Root: kubeletRoot, Context: label})
	if err != nil {
		return nil, err
	}
	if err := engine.Check(ctx, pluginDir, pluginDir); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	if _, err := confinement.Apply(privileges.Serving(contract.AccessReadWrite)); err != nil {
		return nil, err
	}
	return engine, noThreadHas(unix.CAP_SYS_PTRACE, unix.CAP_SYS_CHROOT)
}

// noThreadHas fails if any thread of the process may use a capability.
func noThreadHas(capabilities ...int) error {
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) <= hostmount.DefaultThreads {
		return fmt.Errorf("%d threads: %w", len(threads), err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(status)) {
			var set uint64
			if _, err := fmt.Sscanf(line, "CapEff:\t%x", &set); err != nil {
				continue
			}
			for _, c := range capabilities {
				if set&(1<<c) != 0 {
					return fmt.Errorf("thread %s has capability %d: %s", thread, c, line)
				}
			}
		}
	}
	return nil
}

// publish mounts every volume twice; the second time finds the first.
func publish(ctx context.Context, engine *hostmount.Engine) error {
	for _, dir := range []string{pluginDir + "/empty", writableDir + "/upper", writableDir + "/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, v := range volumes() {
		if err := errors.Join(engine.MountOverlay(ctx, v), engine.MountOverlay(ctx, v)); err != nil {
			return err
		}
	}
	mounts, err := engine.Mounts(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes() {
		var here int
		for _, m := range mounts {
			if m.Target == v.Target && m.FSType == "overlay" && m.ReadOnly == (v.Upper == "") {
				here++
			}
		}
		if here != 1 {
			return fmt.Errorf("%d mounts at %s", here, v.Target)
		}
	}
	return nil
}

func unpublish(ctx context.Context, engine *hostmount.Engine) error {
	for _, v := range volumes() {
		if err := errors.Join(engine.Unmount(ctx, v.Target), engine.Unmount(ctx, v.Target)); err != nil {
			return err
		}
	}
	return nil
}

// upperInSnapshots mounts a writable overlay whose upper directory lies where a security module forbids writing. The
// kernel may say that it did and mount read-only; the engine must not.
func upperInSnapshots(ctx context.Context, engine *hostmount.Engine) error {
	v := volumes()[0]
	v.Target, v.Upper, v.Work = target("forbidden"), snapshots+"/1/upper", snapshots+"/1/work"
	err := engine.MountOverlay(ctx, v)
	if !errors.Is(err, hostmount.ErrReadOnly) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("a writable overlay in the runtime's directory: %w", errors.Join(err, errors.New("it must be refused")))
	}
	mounts, listErr := engine.Mounts(ctx)
	for _, m := range mounts {
		if m.Target == v.Target {
			return fmt.Errorf("what was refused is mounted: %+v", m)
		}
	}
	return listErr
}

// denied opens an engine that cannot be had; every word must be in the error.
func denied(ctx context.Context, words []string) error {
	engine, err := hostmount.Open(ctx, hostmount.Config{NamespaceDir: contract.HostNamespacePath, Root: kubeletRoot})
	if err == nil {
		_ = engine.Close()
		return errors.New("the engine opened")
	}
	fmt.Println(err)
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("the error does not tell %q: %w", word, err)
		}
	}
	// Without entering another namespace: the same for the mount itself.
	engine, err = hostmount.Open(ctx, hostmount.Config{Root: "/tmp"})
	if err != nil {
		return err
	}
	defer engine.Close()
	err = errors.Join(os.MkdirAll("/tmp/a", 0o755), os.MkdirAll("/tmp/b", 0o755), os.MkdirAll("/tmp/c", 0o755))
	if err != nil {
		return err
	}
	err = engine.MountOverlay(ctx, hostmount.Overlay{Source: "x", Layers: []string{"/tmp/a", "/tmp/b"}, Target: "/tmp/c"})
	if err == nil {
		return nil // some kernels do not ask AppArmor about move_mount(2)
	}
	fmt.Println(err)
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("the error does not tell %q: %w", word, err)
		}
	}
	return nil
}
