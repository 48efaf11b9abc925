package hostmount

import (
	"errors"
	"path"
	"slices"
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

// FuzzOptions reads the parameters of an overlay back as the kernel does, from both of its interfaces, and wants what
// went in. The layers come in one string, each ended by a NUL, which no path has.
func FuzzOptions(f *testing.F) {
	f.Add("/c/snapshots/12/fs\x00/c/snapshots/7/fs", "", "", "", "")
	f.Add("/c/snapshots/12/fs", "/k/plugins/empty", "", "", "system_u:object_r:data_t:s0:c1,c2")
	f.Add("/a:b\x00/a,b\\\x00/=", "", `/u\:x`, "/w,", "u:r:t:s0")
	f.Add("/a/../b\x00/\x00/a//b/\x00/a", "", "/u", "/w", "")
	f.Add(strings.Repeat("/l/1234567\x00", 499)+"/l/0", "", "/k/volumes/1/upper", "/k/volumes/1/work", "")
	f.Add("/d/"+strings.Repeat("n", maxValue-1)+"\x00/a", "", "/u", "/w", "")
	f.Fuzz(func(t *testing.T, layers, empty, upper, work, context string) {
		o := Overlay{Source: "s", Layers: strings.Split(layers, "\x00"), Empty: empty, Upper: upper, Work: work}
		e := &Engine{seLinux: context != "", config: Config{Context: context}}
		// A security module reads its options first, and knows no escapes but quotes.
		paths := layers + empty + upper + work
		if o.validate() != nil || strings.Contains(context, `"`) || (e.seLinux && (strings.Contains(paths, `"`) || strings.Contains(paths, "context="))) {
			return
		}
		opts := e.options(o)
		if opts.fitFsconfig() {
			wantFit(t, opts)
			wantOverlay(t, o, context, opts.base, opts.lowers, opts.rest)
		}
		data, err := opts.data()
		switch {
		case errors.Is(err, ErrOptionsTooLong):
		case err != nil:
			t.Fatal(err)
		case len(data) > maxData:
			t.Fatalf("%d bytes", len(data))
		default:
			lowers, rest := readData(data, e.seLinux)
			wantOverlay(t, o, context, opts.base, lowers, rest)
		}
	})
}

// wantFit wants values that every fsconfig(2) takes, and takes for what they are.
func wantFit(t *testing.T, opts options) {
	t.Helper()
	for _, value := range opts.lowers {
		if value == "" || len(value) > 255 {
			t.Errorf("a layer of %d bytes", len(value))
		}
	}
	for _, opt := range opts.rest {
		if len(opt.value) > 255 || strings.Contains(opt.value, `\`) {
			t.Errorf("%s is %q", opt.key, opt.value)
		}
	}
}

// wantOverlay wants parameters to name the layers, as seen from a directory, and all else of an overlay.
func wantOverlay(t *testing.T, o Overlay, context, base string, lowers []string, rest []option) {
	t.Helper()
	if len(lowers) != len(o.lowers()) {
		t.Fatalf("layers %q", lowers)
	}
	for i, want := range o.lowers() {
		got := lowers[i]
		if !path.IsAbs(got) {
			got = path.Join(base, got)
		}
		if got != path.Clean(want) {
			t.Errorf("layer %q came back as %q", want, got)
		}
	}
	var want []option
	if o.Upper != "" {
		want = []option{{"upperdir", o.Upper}, {"workdir", o.Work}, {"index", "off"}}
	}
	if context != "" {
		want = append(want, option{"context", context})
	}
	if !slices.Equal(rest, want) {
		t.Errorf("parameters %q, want %q", rest, want)
	}
}

// readData reads an option string of mount(2): first as a security module if there is one, which takes the context, then
// as the overlay.
func readData(data string, seLinux bool) (lowers []string, rest []option) {
	var context []option
	if seLinux {
		data, context = readContext(data)
	}
	for _, part := range splitEscaped(data, ',') {
		key, value, _ := strings.Cut(part, "=")
		if key == "lowerdir" {
			for _, lower := range splitEscaped(value, ':') {
				lowers = append(lowers, unescaped(lower))
			}
			continue
		}
		rest = append(rest, option{key, unescaped(value)})
	}
	return lowers, append(rest, context...)
}

// readContext takes the context off the options as selinux_sb_eat_lsm_opts of security/selinux/hooks.c does: commas part
// them outside quotes, and a backslash is a character as any other.
func readContext(data string) (others string, context []option) {
	var parts []string
	quoted, start := false, 0
	for i := 0; i <= len(data); i++ {
		switch {
		case i < len(data) && data[i] == '"':
			quoted = !quoted
		case i == len(data) || (data[i] == ',' && !quoted):
			if value, found := strings.CutPrefix(data[start:i], "context="); found {
				context = append(context, option{"context", strings.ReplaceAll(value, `"`, "")})
			} else {
				parts = append(parts, data[start:i])
			}
			start = i + 1
		}
	}
	return strings.Join(parts, ","), context
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
