package crio

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.podman.io/storage"
	"go.podman.io/storage/types"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Of "crio status config", CRI-O 1.36.
const configText = `
[crio]
  root = "/var/lib/containers/storage"
  runroot = "/var/run/containers/storage"
  imagestore = "/var/lib/containers/images"
  storage_driver = "overlay"
  storage_option = ["overlay.mountopt=nodev", "overlay.imagestore=/usr/lib/containers/storage,/data/extra", ".imagestore=/mnt/third"]
  log_dir = "/var/log/crio/pods"
  [crio.api]
    listen = "/var/run/crio/crio.sock"
`

func TestTheSetupIsReadAsCRIOTellsIt(t *testing.T) {
	got, err := parseSetup(configText)
	want := Setup{"/var/lib/containers/storage", "/var/run/containers/storage", "/var/lib/containers/images",
		[]string{"/usr/lib/containers/storage", "/data/extra", "/mnt/third"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"no TOML", "[crio]\nroot = 5"} {
		if _, err := parseSetup(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestWhereCRIOKeepsImagesElsewhereTheFieldIsNamed(t *testing.T) {
	opened := Setup{GraphRoot: "/var/lib/containers/storage", RunRoot: "/run/containers/storage"}
	for name, c := range map[string]struct {
		reported Setup
		words    string
	}{
		"the same":            {Setup{GraphRoot: "/var/lib/containers/storage/", RunRoot: "/var/run/containers/storage"}, ""},
		"nothing reported":    {Setup{}, ""},
		"another root":        {Setup{GraphRoot: "/data/root", RunRoot: opened.RunRoot}, "set storageRoot: /data/root"},
		"another run root":    {Setup{GraphRoot: opened.GraphRoot, RunRoot: "/data/run"}, "set runRoot: /data/run"},
		"images apart":        {Setup{GraphRoot: opened.GraphRoot, RunRoot: opened.RunRoot, ImageStore: "/data/images"}, "set imageStore: /data/images"},
		"an additional store": {Setup{GraphRoot: opened.GraphRoot, AdditionalStores: []string{"/data/extra"}}, ""},
	} {
		err := opened.differs(c.reported)
		if (err == nil) != (c.words == "") || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	apart := opened
	apart.ImageStore = "/data/images"
	if err := apart.differs(opened); err == nil || !strings.Contains(err.Error(), "leave out imageStore") {
		t.Errorf("no images apart: %v", err)
	}
}

// answering is a CRI-O of which only its configuration is asked.
func answering(t *testing.T, s *Setup) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "crio.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.GraphRoot == "" {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "[crio]\nroot = %q\nrunroot = %q\nimagestore = %q\nstorage_option = [%q]\n",
			s.GraphRoot, s.RunRoot, s.ImageStore, "overlay.imagestore="+strings.Join(s.AdditionalStores, ","))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return "unix://" + socket
}

// fill has a process of its own add an image of two layers to a store, as CRI-O or skopeo does.
func fill(t *testing.T, s Setup, name string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+roleFill, dirEnv+"="+strings.Join([]string{s.GraphRoot, s.RunRoot, s.ImageStore, name}, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func fillStore(what string) error {
	w := strings.Split(what, "\n")
	s, err := storage.GetStore(types.StoreOptions{GraphRoot: w[0], RunRoot: w[1], ImageStore: w[2], GraphDriverName: driverName,
		GraphDriverOptions: []string{"overlay.skip_mount_home=true"}})
	if err == nil {
		_, err = addImage(s, w[3], 2)
	}
	return err
}

// CRI-O keeps one image in its store or in the one for images, and reads another in an additional store. (2 s)
func TestImagesAreFoundWhereverCRIOKeepsThem(t *testing.T) {
	needRoot(t)
	const own, extra = "registry.example/own:1", "registry.example/extra:1"
	for name, apart := range map[string]bool{"in its root": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			reported := Setup{GraphRoot: filepath.Join(dir, "graph"), RunRoot: filepath.Join(dir, "run"), AdditionalStores: []string{filepath.Join(dir, "extra")}}
			if apart {
				reported.ImageStore = filepath.Join(dir, "images")
			}
			fill(t, Setup{GraphRoot: reported.AdditionalStores[0], RunRoot: filepath.Join(dir, "extra-run")}, extra)
			fill(t, reported, own)
			s, err := Open(Config{GraphRoot: reported.GraphRoot, RunRoot: reported.RunRoot, Endpoint: answering(t, &reported), Driver: driver})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(testContext(t)); err != nil {
				t.Error(err)
			}
			for _, image := range []string{own, extra} {
				tree, err := s.Pin(testContext(t), image)
				if err != nil || len(tree.Layers) != 2 {
					t.Fatalf("%s: %+v, %v", image, tree, err)
				}
				if content, err := os.ReadFile(filepath.Join(tree.Layers[0], "layer-2")); err != nil || string(content) != image {
					t.Errorf("%s shows %q, %v", image, content, err)
				}
				if kept, err := s.Pinned(testContext(t), tree.ID); err != nil || kept.ID != tree.ID || !slices.Equal(kept.Layers, tree.Layers) {
					t.Errorf("%s is pinned as %+v, %v", image, kept, err)
				}
				if err := s.Unpin(testContext(t), tree.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// If a node plugin's pod does not see all of CRI-O's directories, the error names the field for them.
func TestAnImageThatIsNotSeenHereIsToldWithTheSetting(t *testing.T) {
	f := newFixture(t)
	own := Setup{GraphRoot: filepath.Join(f.dir, "graph"), RunRoot: filepath.Join(f.dir, "run")}
	var reported Setup // CRI-O starts
	s, err := Open(Config{GraphRoot: own.GraphRoot, RunRoot: own.RunRoot, Endpoint: answering(t, &reported), Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		reported Setup
		words    string
		ready    bool
	}{
		{name: "not reported yet", ready: true},
		{name: "apart", reported: Setup{own.GraphRoot, own.RunRoot, "/unseen/images", nil}, words: "set imageStore: /unseen/images"},
		{name: "another run root", reported: Setup{own.GraphRoot, "/unseen/run", "", nil}, words: "set runRoot: /unseen/run"},
		{name: "an additional store", reported: Setup{own.GraphRoot, own.RunRoot, "", []string{"/unseen/extra"}}, words: "/unseen/extra", ready: true},
	} {
		reported = c.reported
		_, err := s.Pin(testContext(t), "registry.example/unseen:1")
		want := imagestore.ErrUnsupported
		if c.words == "" {
			want = imagestore.ErrNotFound
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := s.Ready(testContext(t)); (err == nil) != c.ready || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s: ready: %v", c.name, err)
		}
	}
}
