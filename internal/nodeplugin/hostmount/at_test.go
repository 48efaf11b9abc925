package hostmount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestMountAtFindsTheTopmostMountOfATarget(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	expect := func(when, source string) {
		t.Helper()
		found, err := f.MountAt(deadline(t), o.Target)
		if err != nil || (found == nil) != (source == "") {
			t.Fatalf("%s: %+v, %v", when, found, err)
		}
		if found != nil && (found.Source != source || found.Target != o.Target || !found.ReadOnly || found.FSType != "overlay") {
			t.Errorf("%s: %+v", when, found)
		}
	}
	expect("no directory", "")
	if err := os.MkdirAll(o.Target, 0o755); err != nil {
		t.Fatal(err)
	}
	expect("a plain directory", "")
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	expect("a mount", o.Source)
	if found, err := f.MountAt(deadline(t), filepath.Dir(o.Target)); err != nil || found != nil {
		t.Errorf("the directory above: %+v, %v", found, err)
	}
	if _, err := f.MountAt(deadline(t), "/"); !errors.Is(err, ErrBadTarget) {
		t.Errorf("outside the root: %v", err)
	}
}
