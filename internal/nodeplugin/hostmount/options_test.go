package hostmount

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestOptionsOfMount2(t *testing.T) {
	selinux := &Engine{seLinux: true, config: Config{Context: "system_u:object_r:data_t:s0:c1,c2"}}
	for _, c := range []struct {
		name    string
		engine  *Engine
		overlay Overlay
		base    string
		data    string
	}{
		{"containerd layers", &Engine{}, Overlay{Layers: []string{"/c/snapshots/12/fs", "/c/snapshots/7/fs"}},
			"/c/snapshots", "lowerdir=12/fs:7/fs"},
		{"one layer", &Engine{}, Overlay{Layers: []string{"/c/snapshots/12/fs"}, Empty: "/k/plugins/empty"},
			"/c/snapshots/12", "lowerdir=fs:/k/plugins/empty"},
		{"layers with little in common", &Engine{}, Overlay{Layers: []string{"/a/1", "/b/1"}}, "/", "lowerdir=a/1:b/1"},
		{"a name that starts as another", &Engine{}, Overlay{Layers: []string{"/a/1", "/a/10/fs"}}, "/a", "lowerdir=1:10/fs"},
		{"a layer above another", &Engine{}, Overlay{Layers: []string{"/a/b/c", "/a/b"}}, "/a", "lowerdir=b/c:b"},
		{"writable", &Engine{}, Overlay{Layers: []string{"/c/1"}, Upper: "/u/a,b", Work: "/u/w:1"},
			"/c", `lowerdir=1,upperdir=/u/a\,b,workdir=/u/w\:1,index=off`},
		{"special characters", &Engine{}, Overlay{Layers: []string{`/c/a:b`, `/c/d,e\`}}, "/c", `lowerdir=a\:b:d\,e\\`},
		{"SELinux", selinux, Overlay{Layers: []string{"/c/1", "/c/2"}},
			"/c", `lowerdir=1:2,context="system_u:object_r:data_t:s0:c1,c2"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := c.engine.options(c.overlay)
			data, err := opts.data()
			if opts.base != c.base || data != c.data || err != nil {
				t.Errorf("in %s: %s, %v\nwant %s: %s", opts.base, data, err, c.base, c.data)
			}
		})
	}
}

func TestOptionsAreNeverCut(t *testing.T) {
	o := options{base: "/", lowers: []string{strings.Repeat("x", maxData-len("lowerdir="))}}
	if data, err := o.data(); err != nil || len(data) != maxData {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	o.lowers[0] += "x"
	if _, err := o.data(); !errors.Is(err, ErrOptionsTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestOverlaysThatCannotBeMountedAreRefused(t *testing.T) {
	good := Overlay{Source: "s", Layers: []string{"/a", "/b"}}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Overlay){
		"no source":             func(o *Overlay) { o.Source = "" },
		"a source too long":     func(o *Overlay) { o.Source = strings.Repeat("s", 256) },
		"no layers":             func(o *Overlay) { o.Layers = nil },
		"a relative layer":      func(o *Overlay) { o.Layers = []string{"/a", "b"} },
		"a layer with a NUL":    func(o *Overlay) { o.Layers = []string{"/a", "/b\x00"} },
		"upper without work":    func(o *Overlay) { o.Upper = "/u" },
		"work without upper":    func(o *Overlay) { o.Work = "/w" },
		"one layer, no empty":   func(o *Overlay) { o.Layers = o.Layers[:1] },
		"one layer, odd empty":  func(o *Overlay) { o.Layers, o.Empty = o.Layers[:1], "e" },
		"a nameless layer":      func(o *Overlay) { o.Layers = []string{"", "/b"} },
		"a path too long":       func(o *Overlay) { o.Layers = []string{"/a", "/" + strings.Repeat("b", maxPath)} },
		"a relative upper":      func(o *Overlay) { o.Upper, o.Work = "u", "/w" },
		"an empty layer's name": func(o *Overlay) { o.Layers = []string{"/a", "."} },
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			spoil(&o)
			if err := o.validate(); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// FuzzOptions reads an option string back as the kernel does and wants the paths that went in.
func FuzzOptions(f *testing.F) {
	f.Add("/c/snapshots/12/fs", "/c/snapshots/7/fs", "/k/upper")
	f.Add(`/a:b`, `/a,b\`, `/u\:x`)
	f.Add("/a/../b", "/", "/a//b/")
	f.Add("", `/a,b\`, `/u\:x`)
	f.Fuzz(func(t *testing.T, first, second, upper string) {
		o := Overlay{Source: "s", Layers: []string{first, second}, Upper: upper, Work: "/w"}
		if o.validate() != nil || !o.writable() {
			return
		}
		opts := (&Engine{}).options(o)
		data, err := opts.data()
		if err != nil {
			if !errors.Is(err, ErrOptionsTooLong) {
				t.Fatal(err)
			}
			return
		}
		if len(data) > maxData {
			t.Fatalf("%d bytes", len(data))
		}
		parts := splitEscaped(data, ',')
		if len(parts) != 4 || unescaped(parts[1]) != "upperdir="+upper {
			t.Fatalf("parts %q", parts)
		}
		lowers := splitEscaped(strings.TrimPrefix(parts[0], "lowerdir="), ':')
		if len(lowers) != 2 {
			t.Fatalf("layers %q", lowers)
		}
		for i, want := range []string{first, second} {
			got := unescaped(lowers[i])
			if !path.IsAbs(got) {
				got = path.Join(opts.base, got)
			}
			if got != path.Clean(want) {
				t.Errorf("layer %q came back as %q", want, got)
			}
		}
	})
}

// splitEscaped splits at sep where no backslash protects it.
func splitEscaped(s string, sep byte) []string {
	var parts []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
