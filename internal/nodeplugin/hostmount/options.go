package hostmount

import (
	"fmt"
	"path"
	"strings"
)

// maxData is how many bytes of options mount(2) reads: a page less its closing NUL.
const maxData = 4095

// options are an overlay's parameters with layer names relative to one directory: short names keep within mount(2)'s
// page, keep mountinfo lines short, and are looked up faster.
type options struct {
	base   string // the directory that relative names start from
	lowers []string
	rest   []option
}

type option struct{ key, value string }

// options works out the parameters of o.
func (e *Engine) options(o Overlay) options {
	base := commonParent(o.Layers)
	opts := options{base: base}
	for _, layer := range o.lowers() {
		opts.lowers = append(opts.lowers, relativeTo(base, layer))
	}
	if o.writable() {
		// A kernel may have index=on by default; then an upper directory is refused over the same layers in
		// another place, as after an image was removed and pulled again.
		opts.rest = append(opts.rest, option{"upperdir", o.Upper}, option{"workdir", o.Work}, option{"index", "off"})
	}
	if e.seLinux {
		// Without a context the kubelet asks for a relabel, which a read-only mount refuses.
		opts.rest = append(opts.rest, option{"context", e.config.Context})
	}
	return opts
}

// fitFsconfig reports whether fsconfig(2) takes every value as it is: short enough, and without a backslash in the upper
// and work directories, where some kernels read it as an escape and some do not.
func (o options) fitFsconfig() bool {
	for _, lower := range o.lowers {
		if len(lower) > maxValue {
			return false
		}
	}
	for _, opt := range o.rest {
		if len(opt.value) > maxValue || strings.Contains(opt.value, `\`) {
			return false
		}
	}
	return true
}

// data returns the option string for mount(2). It is never longer than the kernel reads.
func (o options) data() (string, error) {
	var b strings.Builder
	b.WriteString("lowerdir=")
	for i, lower := range o.lowers {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(escape(lower))
	}
	for _, opt := range o.rest {
		value := escape(opt.value)
		if opt.key == "context" {
			// Security modules read their options before the file system does: quotes, no escapes.
			value = `"` + opt.value + `"`
		}
		b.WriteString("," + opt.key + "=" + value)
	}
	if b.Len() > maxData {
		return "", fmt.Errorf("%w: %d bytes for %d layers, and mount(2) takes %d; use a kernel with lowerdir+ (6.8)",
			ErrOptionsTooLong, b.Len(), len(o.lowers), maxData)
	}
	return b.String(), nil
}

// escape protects the characters that part options and layers. See overlayfs.rst, "Multiple lower layers".
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(value)
}

// commonParent returns the deepest directory that lies above every path.
func commonParent(paths []string) string {
	parent := path.Dir(path.Clean(paths[0]))
	for _, p := range paths[1:] {
		p = path.Clean(p)
		for parent != "/" && !isBeneath(parent, p) {
			parent = path.Dir(parent)
		}
	}
	return parent
}

// relativeTo names p as seen from base: relative if it lies beneath it, absolute otherwise.
func relativeTo(base, p string) string {
	p = path.Clean(p)
	if !isBeneath(base, p) {
		return p
	}
	return strings.TrimPrefix(strings.TrimPrefix(p, base), "/")
}

func isBeneath(dir, p string) bool {
	return p != dir && (dir == "/" || strings.HasPrefix(p, dir+"/"))
}
