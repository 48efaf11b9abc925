package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

func limited(t *testing.T, root string, bytes int64) Request {
	t.Helper()
	r := request(t, root, "a", true)
	r.SizeLimit = bytes
	return r
}

func TestALimitedVolumeTellsItsLimitAndTakesItAlong(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), limited(t, root, 1<<20)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	stats, err := n.Stats(t.Context(), r.VolumeID, r.Target)
	if err != nil || stats.Bytes != (hostmount.Capacity{Total: 1 << 20, Used: 1, Available: 1<<20 - 1}) || stats.Inodes.Total != 10 {
		t.Errorf("%+v, %v", stats, err)
	}

	// The node restarts, and the driver's default has grown.
	w.mounts = map[string]hostmount.Mount{}
	n, r.SizeLimit = w.node(t, root), 2<<20
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if stats, err := n.Stats(t.Context(), r.VolumeID, r.Target); err != nil || stats.Bytes.Total != 2<<20 {
		t.Errorf("after a restart: %+v, %v", stats, err)
	}
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestALimitThatCannotBeEnforcedIsAnError(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.limits = nil
	n, r := w.node(t, root), limited(t, root, 1<<20)
	err := n.Publish(t.Context(), r)
	if !errors.Is(err, ErrNoLimit) || !strings.Contains(err.Error(), "1Mi") || !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("got %v", err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)

	r.SizeLimit = 0
	if err := n.Publish(t.Context(), r); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

func TestDataWrittenWithoutALimitStaysWithoutOne(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), limited(t, root, 0)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.mounts = map[string]hostmount.Mount{}
	r.SizeLimit = 1 << 20
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(w.limits) != 0 {
		t.Errorf("limits %v", w.limits)
	}
}

// Whether data has a limit decides whether it can get one, so it has to be known.
func TestALimitThatCannotBeReadIsNotSetAnew(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), limited(t, root, 0)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.mounts = map[string]hostmount.Mount{}
	w.faults["limited"] = 1
	r.SizeLimit = 1 << 20
	if err := n.Publish(t.Context(), r); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	if len(w.limits) != 0 || len(w.mounts) != 0 {
		t.Errorf("limits %v, mounts %v", w.limits, w.mounts)
	}
	w.expectWhole(t)
}

func TestALimitOfAHalfMadeVolumeIsTakenBack(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), limited(t, root, 1<<20)
	draft := n.data.directory(r.VolumeID, r.Target) + newSuffix
	if err := draft.populate(identity{VolumeID: r.VolumeID, Target: r.Target}, hostmount.Attributes{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := n.limit(t.Context(), draft, r); err != nil { // and then the process is killed
		t.Fatal(err)
	}
	later(t, n, 24*time.Hour)
	w.expectNothingLeft(t, n)

	w.faults["limit"] = -1 // it limits, and then fails
	if err := n.Publish(t.Context(), r); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestALimitThatCannotBeEnforcedIsKeptInMemoryWhereTheDriverSaysSo(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.limits, w.fallback = nil, contract.FallbackMemory
	n, r := w.node(t, root), limited(t, root, 1<<20)
	group := uint32(os.Getgid())
	r.Group = &group
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	dir := n.data.directory(r.VolumeID, r.Target)
	want := hostmount.Memory{At: dir.memory(), Bytes: 1 << 20, Root: hostmount.Attributes{UID: uint32(os.Getuid()), GID: group, Mode: 0o2771}}
	if got := w.memory[r.Target]; got != want {
		t.Errorf("mounted on %+v, want %+v", got, want)
	}
	if usage, err := n.Usage(t.Context()); err != nil || usage.Writable != 1 || usage.InMemory != 1 {
		t.Errorf("usage %+v, %v", usage, err)
	}
	// The volume's own file system has its figures.
	if stats, err := n.Stats(t.Context(), r.VolumeID, r.Target); err != nil || stats.Bytes.Used != 1<<29 {
		t.Errorf("%+v, %v", stats, err)
	}

	// The node restarts; limits are refused from now on, and none is the default. The volume stays what it is.
	w.mounts, w.fallback = map[string]hostmount.Mount{}, contract.FallbackRefuse
	n, r.SizeLimit = w.node(t, root), 0
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := w.memory[r.Target]; got != want {
		t.Errorf("mounted again on %+v, want %+v", got, want)
	}
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestAVolumeOnDiskStaysThereWhereLimitsGoToMemory(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.fallback = contract.FallbackMemory
	n, r := w.node(t, root), limited(t, root, 1<<20)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(w.memory) != 0 || len(w.limits) == 0 {
		t.Errorf("a file system that has quotas is not used: memory %v, limits %v", w.memory, w.limits)
	}
}

// A killed process may have left memory mounted in the directory: removing its content would remove the mount's.
func TestMemoryIsUnmountedBeforeItsDirectoryGoes(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.limits, w.fallback = nil, contract.FallbackMemory
	n, r := w.node(t, root), limited(t, root, 1<<20)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if had, err := n.data.setAside(directoryName(r.VolumeID, r.Target)); err != nil || !had {
		t.Fatal(had, err)
	}
	found, err := n.data.list()
	if err != nil || len(found.aside) != 1 {
		t.Fatal(found, err)
	}
	aside := directory(filepath.Join(n.data.root, found.aside[0]))
	w.faults["unmount"] = 1
	if err := n.discard(t.Context(), aside); !errors.Is(err, errInjected) || !aside.inMemory() {
		t.Errorf("discarded what is mounted: %v", err)
	}
	w.mounts[aside.memory()] = hostmount.Mount{Target: aside.memory()}
	if err := n.discard(t.Context(), aside); err != nil {
		t.Error(err)
	}
	if _, mounted := w.mounts[aside.memory()]; mounted || aside.inMemory() {
		t.Error("the memory is left")
	}
}
