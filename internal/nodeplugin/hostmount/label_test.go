package hostmount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// labelOf returns the SELinux label of a file itself.
func labelOf(t *testing.T, path string) string {
	t.Helper()
	label := make([]byte, 256)
	n, err := unix.Lgetxattr(path, seLinuxLabel, label)
	if err != nil {
		t.Errorf("%s has no label: %v", path, err)
	}
	return strings.TrimRight(string(label[:max(n, 0)]), "\x00")
}

// underContainerPolicy reports whether SELinux has the process be a container like any other, which gives no labels.
func underContainerPolicy() bool {
	label, err := os.ReadFile("/proc/self/attr/current")
	return err == nil && strings.Contains(string(label), ":container_t:")
}

// On a node with SELinux it shows the labels, or the refusal of a policy that lets containers give none.
func TestWhatFillsALabelledDirectoryHasTheLabelForVolumes(t *testing.T) {
	f := newFixture(t)
	f.config.Context = DefaultContext + ":c0" // not what the policy gives new files by itself
	dir := f.dir(t, "copy")
	opened, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	ran := false
	err = f.FillLabelled(opened, func() error {
		ran = true
		return errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Mkdir(filepath.Join(dir, "dir"), 0o700), os.Symlink("file", filepath.Join(dir, "link")))
	})
	if f.seLinux && underContainerPolicy() {
		if !errors.Is(err, ErrNotMappable) || ran || !strings.Contains(err.Error(), "its SELinux policy lets the node plugin give no file the label "+f.config.Context) {
			t.Errorf("filled: %v, error %v", ran, err)
		}
		return
	}
	if err != nil || !ran {
		t.Fatalf("filled: %v, error %v", ran, err)
	}
	if !f.seLinux {
		return
	}
	for _, name := range []string{".", "file", "dir", "link"} {
		if got := labelOf(t, filepath.Join(dir, name)); got != f.config.Context {
			t.Errorf("%s has the label %s", name, got)
		}
	}
	if chosen, err := os.ReadFile(creationLabel); err != nil || len(chosen) != 0 {
		t.Errorf("afterwards files are made with the label %q (%v)", chosen, err)
	}
}

func TestADirectoryIsNotFilledWithoutTheLabel(t *testing.T) {
	f := newFixture(t)
	if f.seLinux {
		return // it has labels
	}
	f.seLinux = true
	opened, err := os.Open(f.dir(t, "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	err = f.FillLabelled(opened, func() error {
		t.Error("it is filled")
		return nil
	})
	if err == nil {
		t.Error("no error")
	}
}
