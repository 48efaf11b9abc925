package crio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func TestLayersAreTopmostFirst(t *testing.T) {
	f := newFixture(t)
	s := f.open(t, driver)
	for _, n := range []int{1, 2, 10, 60} {
		name := fmt.Sprintf("registry.example/layers:%d", n)
		f.image(t, name, n)
		tree := pin(t, s, name)
		if len(tree.Layers) != n || len(tree.ID) != len("sha256:")+64 {
			t.Fatalf("%d layers of tree %s, want %d", len(tree.Layers), tree.ID, n)
		}
		for i, layer := range tree.Layers {
			if _, err := os.Stat(filepath.Join(layer, fmt.Sprintf("layer-%d", n-i))); err != nil {
				t.Errorf("layer %d from the top: %v", i, err)
			}
			if filepath.Base(layer) != "diff" {
				t.Errorf("layer %s is not a directory of its own name", layer)
			}
		}
	}
}

func TestATreeIsAsLargeAsAllItsLayers(t *testing.T) {
	f := newFixture(t)
	s := f.open(t, driver)
	var one imagestore.Size
	for _, n := range []int{1, 10} {
		name := fmt.Sprintf("registry.example/size:%d", n)
		f.image(t, name, n)
		size, err := s.Size(testContext(t), pin(t, s, name).ID)
		if n == 1 {
			one = size
		}
		if err != nil || one.Bytes <= 0 || size.Bytes != int64(n)*one.Bytes {
			t.Errorf("%d layers: %+v, %v; one layer: %+v", n, size, err, one)
		}
	}
	if _, err := s.Size(testContext(t), digest.FromString("no tree").String()); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("a tree that is not there: %v", err)
	}
}

func TestAPinKeepsTheRuntimeFromRemovingTheImage(t *testing.T) {
	f := newFixture(t)
	image := f.image(t, "registry.example/keep:1", 3)
	s := f.open(t, driver)
	tree := pin(t, s, "registry.example/keep:1")
	if _, err := f.runtime.DeleteImage(image.ID, true); !errors.Is(err, storage.ErrImageUsedByContainer) {
		t.Errorf("removal of a pinned image: %v", err)
	}
	if kept, err := s.Pinned(testContext(t), tree.ID); err != nil || kept.ID != tree.ID || !slices.Equal(kept.Layers, tree.Layers) {
		t.Errorf("the pinned tree is %+v, %v", kept, err)
	}
	for range 2 {
		if err := s.Unpin(testContext(t), tree.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Pinned(testContext(t), tree.ID); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("the tree is unpinned, got %v", err)
	}
	if _, err := f.runtime.DeleteImage(image.ID, true); err != nil {
		t.Errorf("removal after unpin: %v", err)
	}
	if _, err := os.Stat(tree.Layers[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the layer stays: %v", err)
	}
}

func TestAnImageOfAnotherPlatformIsPinnedOnlyIfItIsToBeMounted(t *testing.T) {
	const ref = "registry.example/foreign:1"
	f := newFixture(t)
	f.configure(t, f.image(t, ref, 2), ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "s390x"}})
	s := f.open(t, driver)
	if _, err := s.Pin(testContext(t), ref); !errors.Is(err, imagestore.ErrOtherPlatform) || !strings.Contains(fmt.Sprint(err), `"s390x"`) {
		t.Errorf("got %v", err)
	}
	if found := pins(t, s); len(found) != 0 {
		t.Errorf("the failure left %q", found)
	}
	s.others = contract.OtherPlatformsMount
	pin(t, s, ref)
}

func TestPinningAgainWritesNothing(t *testing.T) {
	f := newFixture(t)
	f.image(t, "registry.example/again:1", 2)
	s := f.open(t, driver)
	first := pin(t, s, "registry.example/again:1")
	before := snapshotOf(t, f.dir)
	second := pin(t, s, "registry.example/again:1")
	if first.ID != second.ID || !slices.Equal(first.Layers, second.Layers) {
		t.Errorf("%+v became %+v", first, second)
	}
	if after := snapshotOf(t, f.dir); after != before {
		t.Errorf("the store was written:\n%s\nbefore:\n%s", after, before)
	}
}

func TestAnImageThatAnotherProcessAddedIsSeen(t *testing.T) {
	f := newFixture(t)
	s := f.open(t, driver)
	if _, err := s.Pin(testContext(t), addedByRuntime); !errors.Is(err, imagestore.ErrNotFound) {
		t.Fatalf("before: %v", err)
	}
	anotherProcessAddsAnImage(t, f)
	if tree := pin(t, s, addedByRuntime); len(tree.Layers) != 2 {
		t.Errorf("layers %q", tree.Layers)
	}
}

func TestOpeningMountsNothing(t *testing.T) {
	f := newFixture(t)
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	f.image(t, "registry.example/mounts:1", 2)
	pin(t, f.open(t, driver), "registry.example/mounts:1")
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || string(after) != string(before) {
		t.Errorf("%v, mounts became\n%s", err, after)
	}
}

func TestAMissingStoreIsNotMade(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	_, err := Open(Config{GraphRoot: filepath.Join(dir, "none"), RunRoot: dir, Driver: driver})
	if err == nil || !strings.Contains(err.Error(), "mount the host's") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("made %v, %v", entries, err)
	}
}

func TestPinsBelongToTheirDriver(t *testing.T) {
	f := newFixture(t)
	image := f.image(t, "registry.example/drivers:1", 2)
	if _, err := f.runtime.CreateContainer("", []string{"pod"}, image.ID, "", `{"pod-name":"p","pod-id":"1"}`, nil); err != nil {
		t.Fatal(err)
	}
	one, other := f.open(t, "one.example"), f.open(t, "other.example")
	tree := pin(t, one, "registry.example/drivers:1")
	if found := pins(t, other); len(found) != 0 {
		t.Errorf("the other driver lists %q", found)
	}
	pin(t, other, "registry.example/drivers:1")
	if err := one.Unpin(testContext(t), tree.ID); err != nil {
		t.Fatal(err)
	}
	if len(pins(t, one)) != 0 || !slices.Equal(pins(t, other), []string{tree.ID}) {
		t.Errorf("one has %q, other has %q", pins(t, one), pins(t, other))
	}
}

func TestAContainerThatIsNotOursIsNotRemoved(t *testing.T) {
	f := newFixture(t)
	image := f.image(t, "registry.example/foreign:1", 1)
	s := f.open(t, driver)
	tree, err := s.tree(image.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	id := s.pinID(tree)
	if _, err := f.runtime.CreateContainer(id, nil, image.ID, "", "{}", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Unpin(testContext(t), tree); err == nil {
		t.Error("removed")
	}
	if !f.runtime.Exists(id) {
		t.Error("gone")
	}
}

// The library makes a container's layer first, in a step of its own.
func TestALayerWhoseContainerWasNeverMadeIsAPin(t *testing.T) {
	f := newFixture(t)
	image := f.image(t, "registry.example/killed:1", 2)
	s := f.open(t, driver)
	tree, err := s.tree(image.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	leave := func() {
		if _, err := f.runtime.CreateLayer(s.layerID(tree), image.TopLayer, nil, "", true, nil); err != nil {
			t.Fatal(err)
		}
		if found := pins(t, s); !slices.Equal(found, []string{tree}) {
			t.Errorf("pins %q", found)
		}
	}
	leave()
	pin(t, s, "registry.example/killed:1")
	for range 2 {
		if err := s.Unpin(testContext(t), tree); err != nil {
			t.Fatal(err)
		}
		if found := pins(t, s); len(found) != 0 || f.runtime.Exists(s.layerID(tree)) {
			t.Errorf("after unpinning: pins %q, the layer exists: %v", found, f.runtime.Exists(s.layerID(tree)))
		}
		leave()
	}
}

func TestImagesWithEqualLayersHaveEqualTrees(t *testing.T) {
	f := newFixture(t)
	first := f.image(t, "registry.example/equal:1", 2)
	if _, err := f.runtime.CreateImage("", []string{"registry.example/other:1"}, first.TopLayer, "", nil); err != nil {
		t.Fatal(err)
	}
	s := f.open(t, driver)
	if a, b := pin(t, s, "registry.example/equal:1"), pin(t, s, "registry.example/other:1"); a.ID != b.ID {
		t.Errorf("trees %s and %s", a.ID, b.ID)
	}
	if found := pins(t, s); len(found) != 1 {
		t.Errorf("pins %q", found)
	}
}

func TestReferences(t *testing.T) {
	f := newFixture(t)
	f.image(t, "docker.io/library/busybox:latest", 1)
	s := f.open(t, driver)
	d := digest.FromString("docker.io/library/busybox:latest").String()
	for ref, want := range map[string]error{
		"docker.io/library/busybox:latest":        nil,
		"busybox":                                 nil,
		"docker.io/library/busybox@" + d:          nil,
		"docker.io/library/busybox:1@" + d:        nil,
		"docker.io/library/other@" + d:            imagestore.ErrNotFound,
		"docker.io/library/busybox:none":          imagestore.ErrNotFound,
		"docker.io/library/scratch:latest":        imagestore.ErrUnsupported,
		"registry.example/composefs-image:latest": imagestore.ErrUnsupported,
	} {
		switch {
		case strings.Contains(ref, "scratch"):
			f.image(t, ref, 0)
		case strings.Contains(ref, "composefs"):
			image := f.image(t, ref, 1)
			if err := os.Mkdir(filepath.Join(f.dir, "graph/overlay", image.TopLayer, composefsDir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Pin(testContext(t), ref); !errors.Is(err, want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestManyPinsAtTheSameTime(t *testing.T) {
	f := newFixture(t)
	f.image(t, "registry.example/busy:1", 5)
	s := f.open(t, driver)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Pin(testContext(t), "registry.example/busy:1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if found := pins(t, s); len(found) != 1 {
		t.Errorf("pins %q", found)
	}
}

func TestAnEndedContextEndsTheCall(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.open(t, driver).Pins(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAStoreThatHangsIsToldAndHoldsUpNoMoreThanAFewCalls(t *testing.T) {
	f := newFixture(t)
	s := f.open(t, driver)
	lock, err := lockfile.GetLockFile(filepath.Join(f.dir, "graph", driverName+"-containers", "containers.lock"))
	if err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	for range 2 * maxCalls {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		if _, err = s.Pins(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "CRI-O's store does not answer") {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	if hanging := strings.Count(stacks(), "crio.begin[...] in goroutine "); hanging != maxCalls {
		t.Errorf("%d goroutines for calls, want %d", hanging, maxCalls)
	}
	if !strings.Contains(err.Error(), "16 calls wait for it already") {
		t.Errorf("the last call says %v", err)
	}
	lock.Unlock()
	pins(t, s)
	for range maxCalls { // until those that were given up have ended
		s.calls <- struct{}{}
	}
}

// stacks returns the stacks of all goroutines. Their number proves nothing: the runtime has goroutines of its own, such as the
// one in which a context's deadline passes.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestAnUnpinThatHasBegunEndsWithItsEffectAndNotWithItsContext(t *testing.T) {
	f := newFixture(t)
	f.image(t, "registry.example/app:1", 2)
	s := f.open(t, driver)
	tree := pin(t, s, "registry.example/app:1").ID
	lock, err := lockfile.GetLockFile(filepath.Join(f.dir, "graph", driverName+"-containers", "containers.lock"))
	if err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	for len(s.calls) > 0 { // the pin's call gives its place back a moment after it has answered
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		err = s.Unpin(ctx, tree)
		close(ended)
	}()
	for len(s.calls) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	select {
	case <-ended:
		t.Error("it ended before the library did")
	case <-time.After(100 * time.Millisecond):
	}
	lock.Unlock()
	<-ended
	if err != nil {
		t.Error(err)
	}
	if found := pins(t, s); len(found) != 0 {
		t.Errorf("pins %q", found)
	}
	if err := s.Unpin(ctx, tree); !errors.Is(err, context.Canceled) {
		t.Errorf("one that may not begin: %v", err)
	}
}

// CRI-O takes a storage container for its own if its metadata has a pod's name and ID.
func TestCRIODoesNotTakeAPinForItsOwn(t *testing.T) {
	f := newFixture(t)
	f.image(t, "registry.example/meta:1", 1)
	s := f.open(t, driver)
	tree := pin(t, s, "registry.example/meta:1")
	text, err := f.runtime.Metadata(s.pinID(tree.ID))
	if err != nil {
		t.Fatal(err)
	}
	var asCRIO struct {
		PodName string `json:"pod-name"`
		PodID   string `json:"pod-id"`
	}
	if err := json.Unmarshal([]byte(text), &asCRIO); err != nil || asCRIO.PodName != "" || asCRIO.PodID != "" {
		t.Errorf("%s reads as %+v, %v", text, asCRIO, err)
	}
}

func pin(t *testing.T, s *Store, ref string) imagestore.Tree {
	t.Helper()
	tree, err := s.Pin(testContext(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func pins(t *testing.T, s *Store) []string {
	t.Helper()
	found, err := s.Pins(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
