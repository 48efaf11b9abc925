package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

const driver = "container-image.csi.k8s.io"

// One containerd serves all these tests: they use images of their own.
func TestStore(t *testing.T) {
	d := startDaemon(t)
	for name, test := range map[string]func(*testing.T, *daemon){
		"layers are topmost first":                    testLayers,
		"a tree is as large as all its layers":        testTreeSize,
		"an unpacked image is not unpacked again":     testUnpacked,
		"images unpacked by another snapshotter":      testOtherSnapshotter,
		"pinning again writes nothing":                testPinAgain,
		"a pinned image is found as it is":            testFind,
		"a pin outlives image removal and collection": testPinKeeps,
		"unpin frees":                            testUnpinFrees,
		"a lost pin is made again":               testRepin,
		"a lost pin of two snapshotters' layers": testRepinEverywhere,
		"a snapshotter that is down":             testSnapshotterDown,
		"pins belong to their driver":            testDrivers,
		"missing and odd images":                 testRefused,
		"configurations of a wrong size":         testSizes,
		"a view of no use is taken away":         testUseless,
		"more layers than the kernel takes":      testTooManyLayers,
		"an image of another platform":           testOtherPlatform,
		"CRI names another image's tree":         testLikelyTree,
		"many pins of one tree at the same time": testConcurrent,
		"a pin outlives that of another image":   testNeighbours,
		"references with tag and digest":         testReferences,
		"downloads under way":                    testDownloads,
		"corrupt downloads":                      testCorruptDownloads,
	} {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
}

func testLayers(t *testing.T, d *daemon) {
	s := d.store(t, driver)
	for _, n := range []int{1, 2, 10, 60} {
		name := fmt.Sprintf("registry.example/layers:%d", n)
		d.load(t, name, n)
		tree := pin(t, s, name)
		if len(tree.Layers) != n || len(tree.ID) != len("sha256:")+64 {
			t.Fatalf("%d layers of tree %s, want %d", len(tree.Layers), tree.ID, n)
		}
		for i, layer := range tree.Layers {
			if _, err := os.Stat(filepath.Join(layer, fmt.Sprintf("layer-%d", n-i))); err != nil {
				t.Errorf("layer %d from the top: %v", i, err)
			}
		}
	}
}

func testTreeSize(t *testing.T, d *daemon) {
	s := d.store(t, driver)
	var one imagestore.Size
	for _, n := range []int{1, 10} {
		name := fmt.Sprintf("registry.example/size:%d", n)
		d.load(t, name, n)
		size, err := s.Size(testContext(t), pin(t, s, name).ID)
		if n == 1 {
			one = size
		}
		// Every layer is a directory with a small file.
		if want := int64(n); err != nil || one.Bytes <= 0 || one.Inodes <= 0 || size.Bytes != want*one.Bytes || size.Inodes != want*one.Inodes {
			t.Errorf("%d layers: %+v, %v; one layer: %+v", n, size, err, one)
		}
	}
	if _, err := s.Size(testContext(t), digest.FromString("no tree").String()); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("a tree that is not there: %v", err)
	}
}

func testUnpacked(t *testing.T, d *daemon) {
	image := d.load(t, "registry.example/unpacked:1", 2)
	if err := image.Unpack(testContext(t), "overlayfs"); err != nil {
		t.Fatal(err)
	}
	before := countSnapshots(t, d, "overlayfs")
	pin(t, d.store(t, driver), image.Name())
	if after := countSnapshots(t, d, "overlayfs"); after != before+1 {
		t.Errorf("%d snapshots became %d, want one more", before, after)
	}
}

func testOtherSnapshotter(t *testing.T, d *daemon) {
	image := d.load(t, "registry.example/native:1", 3)
	if err := image.Unpack(testContext(t), "native"); err != nil {
		t.Fatal(err)
	}
	s := d.store(t, driver)
	pin(t, s, d.load(t, "registry.example/native:before", 2).Name()) // by the default snapshotter
	tree := pin(t, s, image.Name())
	if len(tree.Layers) != 1 {
		t.Fatalf("layers %q", tree.Layers)
	}
	for i := 1; i <= 3; i++ {
		if _, err := os.Stat(filepath.Join(tree.Layers[0], fmt.Sprintf("layer-%d", i))); err != nil {
			t.Error(err)
		}
	}
	if after := pin(t, s, d.load(t, "registry.example/native:after", 2).Name()); len(after.Layers) != 2 {
		t.Errorf("the next image was unpacked by the same snapshotter: layers %q", after.Layers)
	}
	unpin(t, s, tree.ID)
	if _, err := d.client(t).SnapshotService("native").Stat(testContext(t), s.viewName(parse(t, tree.ID))); err == nil {
		t.Error("the view stays")
	}
}

func testPinAgain(t *testing.T, d *daemon) {
	d.load(t, "registry.example/again:1", 2)
	s := d.store(t, driver)
	first := pin(t, s, "registry.example/again:1")
	events, errs := d.client(t).Subscribe(testContext(t))
	time.Sleep(100 * time.Millisecond)
	before := info(t, d, s, first.ID)
	second := pin(t, d.store(t, driver), "registry.example/again:1")
	if first.ID != second.ID || !slices.Equal(first.Layers, second.Layers) {
		t.Errorf("%+v became %+v", first, second)
	}
	if after := info(t, d, s, first.ID); !after.Updated.Equal(before.Updated) {
		t.Error("the snapshot was written")
	}
	select {
	case e := <-events:
		t.Errorf("containerd reports a write: %s", e.Topic)
	case err := <-errs:
		t.Error(err)
	case <-time.After(200 * time.Millisecond):
	}
}

func testPinKeeps(t *testing.T, d *daemon) {
	d.load(t, "registry.example/keep:1", 3)
	s := d.store(t, driver)
	tree := pin(t, s, "registry.example/keep:1")
	removeImage(t, d, "registry.example/keep:1")
	for i, layer := range tree.Layers {
		if _, err := os.Stat(filepath.Join(layer, fmt.Sprintf("layer-%d", 3-i))); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Pin(testContext(t), "registry.example/keep:1"); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("the image's name is gone, got %v", err)
	}
	if kept, err := s.Pinned(testContext(t), tree.ID); err != nil || !sameLayers(kept, tree) {
		t.Errorf("the pinned tree is %+v, %v", kept, err)
	}
	unpin(t, s, tree.ID)
	if _, err := s.Pinned(testContext(t), tree.ID); !errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("the tree is unpinned, got %v", err)
	}
	for _, layer := range tree.Layers {
		if _, err := os.Stat(layer); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("layer stays: %v", err)
		}
	}
}

func testUnpinFrees(t *testing.T, d *daemon) {
	d.load(t, "registry.example/free:1", 2)
	s := d.store(t, driver)
	tree := pin(t, s, "registry.example/free:1")
	for range 2 {
		unpin(t, s, tree.ID)
	}
	if slices.Contains(pins(t, s), tree.ID) {
		t.Error("still listed")
	}
	// The image itself is still there and can be pinned again.
	if again := pin(t, s, "registry.example/free:1"); again.ID != tree.ID {
		t.Errorf("tree %s became %s", tree.ID, again.ID)
	}
	if err := s.Unpin(testContext(t), "no digest"); err == nil {
		t.Error("a tree ID that is none passes")
	}
}

func testDrivers(t *testing.T, d *daemon) {
	d.load(t, "registry.example/drivers:1", 2)
	one, other := d.store(t, "one.example"), d.store(t, "other.example")
	tree := pin(t, one, "registry.example/drivers:1")
	if found := pins(t, other); len(found) != 0 {
		t.Errorf("the other driver lists %q", found)
	}
	pin(t, other, "registry.example/drivers:1")
	unpin(t, one, tree.ID)
	if len(pins(t, one)) != 0 || !slices.Equal(pins(t, other), []string{tree.ID}) {
		t.Errorf("one has %q, other has %q", pins(t, one), pins(t, other))
	}
}

func testRefused(t *testing.T, d *daemon) {
	s := d.store(t, "refused.example")
	d.load(t, "registry.example/scratch:1", 0)
	image := d.load(t, "registry.example/odd:1", 1).Metadata()
	image.Name, image.Target.MediaType = "registry.example/artifact:1", "application/vnd.example.thing"
	if _, err := d.client(t).ImageService().Create(testContext(t), image); err != nil {
		t.Fatal(err)
	}
	d.loadDamaged(t, "registry.example/damaged:1", func(config *ocispec.Image, _ *int64) {
		config.RootFS.DiffIDs = []digest.Digest{digest.FromString("another")} // than the manifest's layer
	})
	for ref, want := range map[string]error{
		"registry.example/none:1":     imagestore.ErrNotFound,
		"registry.example/damaged:1":  imagestore.ErrUnsupported,
		"registry.example/scratch:1":  imagestore.ErrUnsupported,
		"registry.example/artifact:1": imagestore.ErrUnsupported,
	} {
		if _, err := s.Pin(testContext(t), ref); !errors.Is(err, want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if found := pins(t, s); len(found) != 0 {
		t.Errorf("pins %q", found)
	}
}

// The image's author chooses the sizes of its parts: they must not decide how much memory is used.
func testSizes(t *testing.T, d *daemon) {
	s := d.store(t, "sizes.example")
	for name, larger := range map[string]int64{"huge": 1 << 40, "cut": 4096, "short": -10, "negative": -1 << 40} {
		ref := "registry.example/sizes:" + name
		d.loadDamaged(t, ref, func(_ *ocispec.Image, size *int64) { *size = larger })
		_, err := s.Pin(testContext(t), ref)
		if err == nil || (name == "huge" && !errors.Is(err, imagestore.ErrUnsupported)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found := pins(t, s); len(found) != 0 {
		t.Errorf("pins %q", found)
	}
}

// useless is a snapshotter whose views are no stack of directories.
type useless struct{ snapshots.Snapshotter }

func (u useless) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	_, err := u.Snapshotter.View(ctx, key, parent, opts...)
	return []mount.Mount{{Type: "block"}}, err
}

func testUseless(t *testing.T, d *daemon) {
	const driver, kept, refused = "useless.example", "registry.example/useless:kept", "registry.example/useless:refused"
	d.load(t, kept, 1)
	if err := d.load(t, refused, 2).Unpack(testContext(t), "overlayfs"); err != nil {
		t.Fatal(err)
	}
	s := d.store(t, driver)
	tree := pin(t, s, kept) // by whose snapshotter the next one is pinned
	odd, err := client.New(d.socket(), client.WithDefaultNamespace(kubernetesNamespace), client.WithServices(client.WithSnapshotters(
		map[string]snapshots.Snapshotter{"overlayfs": useless{s.snapshotter("overlayfs")}})))
	if err != nil {
		t.Fatal(err)
	}
	whole := s.client
	s.client = odd
	t.Cleanup(func() { _ = whole.Close() })
	if _, err := s.Pin(testContext(t), refused); !errors.Is(err, imagestore.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if again := pin(t, s, kept); again.ID != tree.ID {
		t.Errorf("what is pinned became tree %s", again.ID)
	}
	if found := pins(t, d.store(t, driver)); !slices.Equal(found, []string{tree.ID}) {
		t.Errorf("pins %q, want only %q", found, tree.ID)
	}
}

func testTooManyLayers(t *testing.T, d *daemon) {
	s := d.store(t, "many.example")
	d.load(t, "registry.example/many:501", 501)
	if _, err := s.Pin(testContext(t), "registry.example/many:501"); !errors.Is(err, imagestore.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if found := pins(t, s); len(found) != 0 {
		t.Errorf("the failure left %q", found)
	}
}

func testOtherPlatform(t *testing.T, d *daemon) {
	const ref = "registry.example/foreign:1"
	platform := ocispec.Platform{OS: "linux", Architecture: "s390x"}
	d.loadDamaged(t, ref, func(config *ocispec.Image, _ *int64) { config.Platform = platform })
	s := d.store(t, "foreign.example")
	if _, err := s.Pin(testContext(t), ref); !errors.Is(err, imagestore.ErrOtherPlatform) || !strings.Contains(fmt.Sprint(err), `"s390x"`) {
		t.Errorf("to pin it: %v", err)
	}
	if found := pins(t, s); len(found) != 0 {
		t.Errorf("the failure left %q", found)
	}
	s.others = contract.OtherPlatformsMount
	unpin(t, s, pin(t, s, ref).ID)
}

// Only what the image claims of its layers is read, and there is no look for existing pins.
func TestAFirstPinAsksForNoMoreThanItNeeds(t *testing.T) {
	d := startWithout(t, "io.containerd.nri.v1.nri") // NRI's socket is the machine's
	s := d.store(t, "calls.example")
	var refs []string
	for n := range 2 {
		image := d.load(t, fmt.Sprint("registry.example/calls:", n), n+1)
		if err := image.Unpack(testContext(t), "overlayfs"); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, image.Name())
		poll(t, "CRI knows "+image.Name(), func() bool { return s.likelyTree(testContext(t), image.Name()) != "" })
	}
	pin(t, s, refs[0]) // by which the snapshotter is known
	var mu sync.Mutex
	var calls []string
	whole := s.client
	t.Cleanup(func() { _ = whole.Close() })
	s.client = d.overheard(t, func(method string) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, path.Base(method))
	})
	tree := pin(t, s, refs[1])
	slices.Sort(calls)
	if want := []string{"Get", "ImageStatus", "Info", "Info", "Read", "Read", "View"}; !slices.Equal(calls, want) {
		t.Errorf("containerd was called for %q, want %q", calls, want)
	}
	unpin(t, s, tree.ID)
}

// CRI may name another image's tree, as when a name has just moved. What it says is never shown for that, and leaves nothing.
func testLikelyTree(t *testing.T, d *daemon) {
	s := d.store(t, "likely.example")
	inUse := pin(t, s, d.load(t, "registry.example/likely:in-use", 1).Name()).ID
	other := d.load(t, "registry.example/likely:other", 2)
	if err := other.Unpack(testContext(t), "overlayfs"); err != nil {
		t.Fatal(err)
	}
	unused, err := s.topLayer(testContext(t), other)
	if err != nil {
		t.Fatal(err)
	}
	image := d.load(t, "registry.example/likely:1", 3)
	own, err := s.topLayer(testContext(t), image)
	if err != nil {
		t.Fatal(err)
	}
	foreign := ocispec.Platform{OS: "linux", Architecture: "s390x"}
	d.loadDamaged(t, "registry.example/likely:refused", func(config *ocispec.Image, _ *int64) { config.Platform = foreign })
	refused, err := s.image(testContext(t), "registry.example/likely:refused")
	if err != nil {
		t.Fatal(err)
	}
	for name, likely := range map[string]digest.Digest{
		"a tree in use":           digest.Digest(inUse),
		"a tree of another image": unused,
		"a tree that is nowhere":  digest.FromString("nowhere"),
		"its own":                 own, // not unpacked the first time
	} {
		c := candidate{store: s, ref: image.Name(), image: image, likely: likely}
		if tree, err := c.pin(testContext(t)); err != nil || tree.ID != own.String() {
			t.Errorf("%s: pinned %s, %v; want %s", name, tree.ID, err, own)
		}
		if got, want := pins(t, s), []string{inUse, own.String()}; !sameSet(got, want) {
			t.Errorf("%s: pins %q, want %q", name, got, want)
		}
		unpin(t, s, own.String())
		c = candidate{store: s, ref: refused.Name(), image: refused, likely: likely}
		if tree, err := c.pin(testContext(t)); !errors.Is(err, imagestore.ErrOtherPlatform) {
			t.Errorf("%s: an image that is refused was pinned as %s, %v", name, tree.ID, err)
		}
		if got := pins(t, s); !slices.Equal(got, []string{inUse}) {
			t.Errorf("%s: a refused image has left %q", name, got)
		}
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func testConcurrent(t *testing.T, d *daemon) {
	d.load(t, "registry.example/busy:1", 5)
	s := d.store(t, driver)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := s.Pin(testContext(t), "registry.example/busy:1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func testNeighbours(t *testing.T, d *daemon) {
	s := d.store(t, "neighbours.example")
	one := pin(t, s, d.load(t, "registry.example/neighbours:1", 2).Name())
	other := pin(t, s, d.load(t, "registry.example/neighbours:2", 3).Name())
	removeImage(t, d, "registry.example/neighbours:2")
	unpin(t, s, one.ID)
	if kept, err := s.Pinned(testContext(t), other.ID); err != nil || !sameLayers(kept, other) {
		t.Errorf("another tree was unpinned, and this one is %+v, %v", kept, err)
	}
	for _, layer := range other.Layers {
		if _, err := os.Stat(layer); err != nil {
			t.Error(err)
		}
	}
	unpin(t, s, other.ID)
}

func testReferences(t *testing.T, d *daemon) {
	image := d.load(t, "registry.example/ref:1", 1).Metadata()
	digested := image
	digested.Name = "registry.example/ref@" + image.Target.Digest.String()
	if _, err := d.client(t).ImageService().Create(testContext(t), digested); err != nil {
		t.Fatal(err)
	}
	s := d.store(t, driver)
	tree := pin(t, s, "registry.example/ref:1")
	for _, ref := range []string{digested.Name, "registry.example/ref:other@" + image.Target.Digest.String()} {
		if again := pin(t, s, ref); again.ID != tree.ID {
			t.Errorf("%s: tree %s", ref, again.ID)
		}
	}
}

func TestTheStoreOutlivesARestartOfContainerd(t *testing.T) {
	d := startDaemon(t)
	d.load(t, "registry.example/restart:1", 2)
	s := d.store(t, driver)
	tree := pin(t, s, "registry.example/restart:1")
	d.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Pins(ctx); err == nil {
		t.Error("a stopped containerd lists pins")
	}
	d.start(t)
	poll(t, "the pin is found again", func() bool {
		found, err := s.Pins(testContext(t))
		return err == nil && slices.Equal(found, []string{tree.ID})
	})
}

func testFind(t *testing.T, d *daemon) {
	const ref = "registry.example/find:1"
	image := d.load(t, ref, 2).Metadata()
	other := d.load(t, "registry.example/find:other", 3).Metadata()
	s, c := d.store(t, "find.example"), d.client(t)
	if pin, _ := s.Find(testContext(t), "registry.example/find:none"); pin != nil {
		t.Error("found what is not there")
	}
	held := image
	held.Name = "registry.example/find:held" // or containerd collects what the other name leads away from
	if _, err := c.ImageService().Create(testContext(t), held); err != nil {
		t.Fatal(err)
	}
	if pin, _ := s.Find(testContext(t), ref); pin == nil || len(pins(t, s)) != 0 {
		t.Errorf("the image was not found, or pinned: %q", pins(t, s))
	}
	move := func(to ocispec.Descriptor) {
		t.Helper()
		moved := image
		moved.Target = to
		if _, err := c.ImageService().Update(testContext(t), moved); err != nil {
			t.Fatal(err)
		}
	}
	for when, change := range map[string]func(name string) error{
		"nothing happens":      func(string) error { return nil },
		"the snapshot is lost": func(name string) error { return c.SnapshotService("overlayfs").Remove(testContext(t), name) },
		"the tree is unpinned": func(string) error { return s.Unpin(testContext(t), pin(t, s, ref).ID) },
	} {
		move(image.Target)
		before := pin(t, s, ref)
		if err := change(s.viewName(parse(t, before.ID))); err != nil {
			t.Fatal(err)
		}
		after, err := find(t, s, ref)(testContext(t))
		if err != nil || !reflect.DeepEqual(after, before) {
			t.Errorf("%s: %+v became %+v, %v", when, before, after, err)
		}
		if kept, err := s.Pinned(testContext(t), after.ID); err != nil || !sameLayers(kept, after) {
			t.Errorf("%s: %+v is pinned, %v; want %+v", when, kept, err, after)
		}
	}
	before, found := pin(t, s, ref), find(t, s, ref)
	move(other.Target)
	if after, err := found(testContext(t)); err != nil || after.ID != before.ID {
		t.Errorf("the name moved after the image was found: %s became %s, %v", before.ID, after.ID, err)
	}
	if after, err := find(t, s, ref)(testContext(t)); err != nil || after.ID == before.ID {
		t.Errorf("the name had moved when the image was found: %s, %v", after.ID, err)
	}

	// Behind the store's back the image went and came again, so that its layers lie elsewhere.
	move(image.Target)
	for range 2 { // the second time it knows the layers
		before = pin(t, s, ref)
	}
	another := d.store(t, "find.example")
	unpin(t, another, before.ID)
	removeImage(t, d, held.Name)
	removeImage(t, d, ref)
	d.load(t, ref, 2)
	fresh := pin(t, another, ref)
	if after, err := find(t, s, ref)(testContext(t)); err != nil || !reflect.DeepEqual(after, fresh) || reflect.DeepEqual(after, before) {
		t.Errorf("%+v was made again as %+v and found as %+v, %v", before, fresh, after, err)
	}
	unpin(t, s, before.ID)
}

// find wants an image found.
func find(t *testing.T, s *Store, ref string) imagestore.PinFunc {
	t.Helper()
	found, digest := s.Find(testContext(t), ref)
	if found == nil || digest == "" {
		t.Fatalf("%s was not found, or without a digest (%q)", ref, digest)
	}
	return found
}
