package hostmount

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const overlayLine = `61 29 0:52 / /var/lib/kubelet/pods/a\040b/mount ro,nosuid,nodev shared:7 - overlay ` +
	`imagecsi:d@sha256:0\134\0431 ro,lowerdir=%s` + "\n"

func TestMountTableOfLongLines(t *testing.T) {
	// 500 layers with long names make lines beyond the parser's 64 KiB.
	layers := strings.TrimSuffix(strings.Repeat("/"+strings.Repeat("l", 200)+":", 500), ":")
	table := fmt.Sprintf(overlayLine, layers) + strings.Repeat(fmt.Sprintf(overlayLine, "a:b"), 2) +
		strings.TrimSuffix(fmt.Sprintf(overlayLine, layers), "\n")
	mounts, err := parseMounts(strings.NewReader(table))
	if err != nil || len(mounts) != 4 {
		t.Fatalf("%d mounts, %v", len(mounts), err)
	}
	for _, m := range mounts {
		want := Mount{Target: "/var/lib/kubelet/pods/a b/mount", Source: `imagecsi:d@sha256:0\#1`, FSType: "overlay",
			Root: "/", ReadOnly: true, id: 61, parent: 29, peers: 7, Device: 52}
		if m != want {
			t.Errorf("%+v", m)
		}
	}
}

func TestLinesAroundTheLimit(t *testing.T) {
	for n := maxLine - 200; n < maxLine+200; n++ {
		table := strings.Repeat(fmt.Sprintf(overlayLine, strings.Repeat("x", n)), 2)
		if mounts, err := parseMounts(strings.NewReader(table)); err != nil || len(mounts) != 2 {
			t.Fatalf("%d bytes: %d mounts, %v", n, len(mounts), err)
		}
	}
}

func TestTheTopmostMountIsTheOneWithoutAChild(t *testing.T) {
	table := []Mount{
		{Target: "/t", Source: "top", id: 30, parent: 40},
		{Target: "/t", Source: "bottom", id: 50, parent: 1},
		{Target: "/t/sub", id: 60, parent: 30},
		{Target: "/t", Source: "middle", id: 40, parent: 50},
	}
	if m := topmost(table, "/t"); m == nil || m.Source != "top" {
		t.Errorf("%+v", m)
	}
	if m := topmost(table, "/none"); m != nil {
		t.Errorf("%+v", m)
	}
}

func TestMountsOfManyLongOverlays(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := f.layers(t, 500)
		for i := range 3 {
			o := f.overlay(t, layers...)
			o.Target = filepath.Join(f.root, fmt.Sprint("pods/", i))
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
			if here := f.at(t, o.Target); len(here) != 1 || here[0].Source != o.Source {
				t.Errorf("%+v", here)
			}
		}
	})
}

func TestTargetsAreToldAsTheRootIsConfigured(t *testing.T) {
	f := newFixture(t)
	link := filepath.Join(t.TempDir(), "kubelet")
	if err := os.Symlink(f.root, link); err != nil {
		t.Fatal(err)
	}
	config := f.config
	config.Root = link
	e, err := Open(deadline(t), config)
	if err != nil {
		t.Fatal(err)
	}
	linked := &fixture{Engine: e, root: link}
	t.Cleanup(func() { _ = e.Close() })
	o := f.overlay(t, f.layers(t, 2)...)
	o.Target = filepath.Join(link, "pods/x")
	for range 2 {
		if err := e.MountOverlay(deadline(t), o); err != nil {
			t.Fatal(err)
		}
	}
	if here := linked.at(t, o.Target); len(here) != 1 {
		t.Errorf("%+v", here)
	}
	if err := e.Unmount(deadline(t), o.Target); err != nil {
		t.Error(err)
	}
}

func FuzzMountTable(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(overlayLine, "a:b")))
	f.Add([]byte("1 2 3:4 / / rw - t s rw\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte(strings.Repeat("x", maxLine+1)))
	f.Fuzz(func(t *testing.T, table []byte) {
		once, err := parseMounts(strings.NewReader(string(table)))
		if err != nil {
			return
		}
		if lines := strings.Count(string(table), "\n") + 1; len(once) > lines {
			t.Errorf("%d mounts from %d lines", len(once), lines)
		}
	})
}

// FuzzMountLines writes mounts as the kernel does, reads them back and wants what went in.
func FuzzMountLines(f *testing.F) {
	f.Add("/pods/a b/mount", `imagecsi:d@sha256:0\#1`, "/", "/k/volumes/1/upper", "/l/2:/l/1", uint16(61), uint16(29), uint8(0), uint8(3), true)
	f.Add("/mnt", "s", "/", "/k/a b,c=d\\/upper", "/l", uint16(1), uint16(2), uint8(0), uint8(0), false)
	f.Add("/\t\n/-", "-", `/\040`, "", "/l", uint16(0), uint16(0), uint8(7), uint8(0), false)
	f.Add("/ - overlay s rw", "", "/\xff\r", "relative/fs", strings.Repeat(":/layer", 10_000), uint16(9), uint16(9), uint8(255), uint8(1), true)
	f.Fuzz(func(t *testing.T, target, source, root, upper, lowers string, id, parent uint16, peers, master uint8, readOnly bool) {
		for _, text := range []string{target, source, root, upper} {
			if strings.ContainsRune(text, 0) || len(text) > maxPath {
				return
			}
		}
		want := Mount{Target: target, Source: source, FSType: "overlay", Root: root, Upper: upper, ReadOnly: readOnly,
			peers: int(peers), master: int(master), id: int(id), parent: int(parent), Device: 52}
		line := kernelLine(want, lowers)
		mounts, err := parseMounts(strings.NewReader(line + line))
		if err != nil || len(mounts) != 2 {
			t.Fatalf("%d mounts, %v, of %q", len(mounts), err, line)
		}
		if len(line) > maxLine {
			want.Upper = mounts[0].Upper // cut off, perhaps
		}
		for _, m := range mounts {
			if m != want {
				t.Errorf("%q was read as %+v", line, m)
			}
		}
	})
}

// kernelLine is the line of a mount: show_mountinfo of fs/proc_namespace.c.
func kernelLine(m Mount, lowers string) string {
	const inPaths, inStrings, inOptions = " \t\n\\", " \t\n\\#", ",= \t\n\\"
	access := map[bool]string{true: "ro", false: "rw"}[m.ReadOnly]
	optional, upper := "", ""
	if m.peers != 0 {
		optional += fmt.Sprintf(" shared:%d", m.peers)
	}
	if m.master != 0 {
		optional += fmt.Sprintf(" master:%d propagate_from:9", m.master)
	}
	if m.Upper != "" {
		upper = ",upperdir=" + kernelEscape(m.Upper, inOptions) + ",workdir=/w"
	}
	return fmt.Sprintf("%d %d 0:52 %s %s %s,nosuid%s - overlay %s rw,lowerdir=%s%s,index=off\n", m.id, m.parent,
		kernelEscape(m.Root, inPaths), kernelEscape(m.Target, inPaths), access, optional, kernelEscape(m.Source, inStrings),
		kernelEscape(lowers, inOptions), upper)
}

// kernelEscape writes some characters as the kernel's seq_escape does: as a backslash and three octal digits.
func kernelEscape(text, characters string) string {
	var b strings.Builder
	for i := range len(text) {
		if strings.IndexByte(characters, text[i]) >= 0 {
			fmt.Fprintf(&b, `\%03o`, text[i])
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}
