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
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
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
	w.Mounted = map[string]hostmount.Mount{}
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
	w.Limits = nil
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
	w.Mounted = map[string]hostmount.Mount{}
	r.SizeLimit = 1 << 20
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if len(w.Limits) != 0 {
		t.Errorf("limits %v", w.Limits)
	}
}

// Whether data has a limit decides whether it can get one, so it has to be known.
func TestALimitThatCannotBeReadIsNotSetAnew(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), limited(t, root, 0)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.Mounted = map[string]hostmount.Mount{}
	w.Faults["limited"] = 1
	r.SizeLimit = 1 << 20
	if err := n.Publish(t.Context(), r); !errors.Is(err, volumetest.ErrInjected) {
		t.Errorf("got %v", err)
	}
	if len(w.Limits) != 0 || len(w.Mounted) != 0 {
		t.Errorf("limits %v, mounts %v", w.Limits, w.Mounted)
	}
	w.ExpectWhole(t)
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

	w.Faults["limit"] = -1 // it limits, and then fails
	if err := n.Publish(t.Context(), r); !errors.Is(err, volumetest.ErrInjected) {
		t.Errorf("got %v", err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestALimitThatCannotBeEnforcedIsKeptInMemoryWhereTheDriverSaysSo(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.Limits, w.fallback = nil, contract.FallbackMemory
	n, r := w.node(t, root), limited(t, root, 1<<20)
	group := uint32(os.Getgid())
	r.Group = &group
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	dir := n.data.directory(r.VolumeID, r.Target)
	want := hostmount.Memory{At: dir.memory(), Bytes: 1 << 20, Root: hostmount.Attributes{UID: uint32(os.Getuid()), GID: group, Mode: 0o2771}}
	if got := w.InMemory[r.Target]; got != want {
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
	w.Mounted, w.fallback = map[string]hostmount.Mount{}, contract.FallbackRefuse
	n, r.SizeLimit = w.node(t, root), 0
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := w.InMemory[r.Target]; got != want {
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
	if len(w.InMemory) != 0 || len(w.Limits) == 0 {
		t.Errorf("a file system that has quotas is not used: memory %v, limits %v", w.InMemory, w.Limits)
	}
}

// A killed process may have left memory mounted in the directory: removing its content would remove the mount's.
func TestMemoryIsUnmountedBeforeItsDirectoryGoes(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.Limits, w.fallback = nil, contract.FallbackMemory
	n, r := w.node(t, root), limited(t, root, 1<<20)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if had, err := n.data.renameAway(directoryName(r.VolumeID, r.Target)); err != nil || !had {
		t.Fatal(had, err)
	}
	found, err := n.data.list()
	if err != nil || len(found.aside) != 1 {
		t.Fatal(found, err)
	}
	aside := directory(filepath.Join(n.data.root, found.aside[0]))
	w.Faults["unmount"] = 1
	if err := n.discard(t.Context(), aside); !errors.Is(err, volumetest.ErrInjected) || !aside.inMemory() {
		t.Errorf("discarded what is mounted: %v", err)
	}
	w.Mounted[aside.memory()] = hostmount.Mount{Target: aside.memory()}
	if err := n.discard(t.Context(), aside); err != nil {
		t.Error(err)
	}
	if _, mounted := w.Mounted[aside.memory()]; mounted || aside.inMemory() {
		t.Error("the memory is left")
	}
}
