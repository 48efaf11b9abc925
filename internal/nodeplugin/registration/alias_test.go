package registration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAllNamesHaveTheirSocketsInTheDriversDirectory(t *testing.T) {
	drivers := Endpoints("/plugins/a.example", []string{"a.example", "b.example", "c.example"})
	var paths []string
	for _, d := range drivers {
		paths = append(paths, d.Endpoint)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(paths)))) != 3 || paths[0] != "/plugins/a.example/csi.sock" {
		t.Errorf("the sockets are %q", paths)
	}
	for _, path := range paths {
		if filepath.Dir(path) != "/plugins/a.example" {
			t.Errorf("%s is in another directory", path)
		}
		if registration := registrationSocket("/plugins_registry", "a.example"); len(path) > len(registration) {
			t.Errorf("%s is longer than %s, so that it may not fit where that does", path, registration)
		}
	}
	if again := Endpoints("/plugins/a.example", []string{"a.example", "c.example"}); again[1] != drivers[2] {
		t.Errorf("without another alias %v has become %v", drivers[2], again[1])
	}
}

// kill leaves a socket as a process that is killed does.
func kill(t *testing.T, path string) {
	t.Helper()
	if err := mustListen(t, path).listener.Close(); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range found {
		all = append(all, entry.Name())
	}
	return all
}

func TestWhatAKilledProcessLeftOfADroppedAliasIsRemoved(t *testing.T) {
	dir, registry := shortDir(t), shortDir(t)
	before := Endpoints(dir, []string{"a.example", "kept.example", "dropped.example", "taken.example"})
	for _, d := range before {
		kill(t, d.Endpoint)
		kill(t, registrationSocket(registry, d.Name))
	}
	kill(t, registrationSocket(registry, "other.example")) // which never was ours
	another := mustListen(t, registrationSocket(registry, "taken.example"))
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "csi-file.sock"), nil, 0o600), os.Mkdir(filepath.Join(dir, "kept"), 0o700)); err != nil {
		t.Fatal(err)
	}

	for range 2 {
		if err := RemoveDropped(dir, registry, before[:2]); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Base(before[1].Endpoint), "csi-file.sock", "csi.sock", "kept"}
	slices.Sort(want)
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("the driver's directory holds %q, want %q", got, want)
	}
	want = []string{"a.example-reg.sock", "kept.example-reg.sock", "other.example-reg.sock", "taken.example-reg.sock"}
	if got := names(t, registry); !slices.Equal(got, want) || !another.Held() {
		t.Errorf("the kubelet finds %q, want %q", got, want)
	}
}

// The record of an alias goes last, for whatever is left without it stays for ever.
func TestADroppedAliasIsRememberedUntilItsRegistrationIsGone(t *testing.T) {
	dir := shortDir(t)
	dropped := Endpoints(dir, []string{"a.example", "dropped.example"})[1]
	kill(t, dropped.Endpoint)
	if err := RemoveDropped(dir, filepath.Join(dir, "missing"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if got := names(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "csi-") {
		t.Errorf("the driver's directory holds %q", got)
	}
}
