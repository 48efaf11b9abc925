package hostmount

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// MaxLayers is the number of layers that the kernel's overlay file system takes at most (OVL_MAX_STACK).
const MaxLayers = 500

const (
	// maxValue is the longest string that fsconfig(2) copies.
	maxValue = 255

	// maxPath is the longest path that a system call takes (PATH_MAX less its closing NUL).
	maxPath = 4095
)

// Overlay is one overlay mount. It always gets nosuid and nodev, and is read-only unless Upper and Work, or Memory, are set.
type Overlay struct {
	// Source is the mount's source string, free to choose; mountinfo shows it. At most 255 bytes.
	Source string

	// Layers are the absolute paths of the layers, topmost first, and Form is what they are; nil stands for Directories.
	Layers []string
	Form   Form

	// Empty is an existing empty directory. The kernel takes no read-only overlay of one layer, so a second one
	// that adds nothing is put beneath it.
	Empty string

	// Upper and Work make the overlay writable. They lie on one file system that can hold an overlay's upper.
	Upper, Work string

	// Memory makes it writable without them: what is written stays in the node's memory and goes with the mount.
	Memory *Memory

	// Target is the directory to mount on. It is made if it is missing, together with its parents.
	Target string
}

func (o Overlay) writable() bool { return o.Upper != "" || o.Memory != nil }

// lowers returns all lower directories, topmost first. The empty one goes to the bottom, so that the image's own root
// directory gives the mount its owner and mode.
func (o Overlay) lowers() []string {
	if len(o.Layers) == 1 && !o.writable() {
		return []string{o.Layers[0], o.Empty}
	}
	return o.Layers
}

func (o Overlay) validate() error {
	switch {
	case o.Source == "" || len(o.Source) > maxValue:
		return fmt.Errorf("the overlay's source %q must have 1 to %d bytes", o.Source, maxValue)
	case len(o.Layers) == 0:
		return errors.New("the overlay has no layers")
	case len(o.Layers) > MaxLayers:
		return fmt.Errorf("%w: %d, and the kernel stacks at most %d; flatten the image",
			ErrTooManyLayers, len(o.Layers), MaxLayers)
	case (o.Upper == "") != (o.Work == ""):
		return errors.New("the overlay has only one of upper and work directory")
	case o.Memory != nil && o.Upper != "":
		return errors.New("the overlay has an upper directory, and one in memory")
	case o.Memory != nil && o.Memory.Bytes <= 0: // the kernel takes 0 for no limit
		return fmt.Errorf("the overlay's %d bytes in memory are no limit", o.Memory.Bytes)
	case len(o.Layers) == 1 && !o.writable() && o.Empty == "":
		return errors.New("a read-only overlay of one layer needs an empty directory")
	}
	dirs := o.lowers()
	switch {
	case o.Memory != nil:
		dirs = append(slices.Clip(dirs), o.Memory.At)
	case o.writable():
		dirs = append(slices.Clip(dirs), o.Upper, o.Work)
	}
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) || strings.ContainsRune(dir, 0) || len(dir) > maxPath {
			return fmt.Errorf("%q is not an absolute path of at most %d bytes", dir, maxPath)
		}
	}
	return nil
}

// MountOverlay mounts an overlay. Where the target carries the same mount already (an overlay of the same source and
// the same writability), it is done. Errors: ErrOccupied, ErrBadTarget, ErrTooManyLayers, ErrOptionsTooLong,
// ErrReadOnly, ErrBadLayer, ErrNoEROFS, or the kernel's own with its message.
func (e *Engine) MountOverlay(ctx context.Context, o Overlay) error {
	if err := o.validate(); err != nil {
		return fmt.Errorf("mounting on %s: %w", o.Target, err)
	}
	rel, err := e.beneathRoot(o.Target)
	if err != nil {
		return err
	}
	err = e.do(ctx, func() error { return e.mountOverlay(o, rel) })
	if err != nil {
		return fmt.Errorf("mounting an overlay of %d layers on %s: %w", len(o.Layers), o.Target, err)
	}
	return nil
}

// mountOverlay runs on a mount thread.
func (e *Engine) mountOverlay(o Overlay, rel string) error {
	return e.onTarget(rel, o.accept, func(root, target int) error {
		attach := func(o Overlay) error { return e.attach(o, root, rel, target) }
		if o.Memory != nil {
			return e.inMemory(root, o, attach)
		}
		return attach(o)
	})
}

// attach makes the mount, by the newest interface that the kernel has for it.
func (e *Engine) attach(o Overlay, root int, rel string, target int) error {
	return e.withLayers(o, func(o Overlay, options options) error {
		if e.appendLayers && options.fitFsconfig() {
			return attachDetached(o, options, target)
		}
		return attachClassic(o, options, root, rel, target)
	})
}

// withLayers checks an overlay's layers, and shows them as directories for as long as it takes to mount them.
func (e *Engine) withLayers(o Overlay, mount func(Overlay, options) error) error {
	form := formOf(o.Form)
	if err := e.plain.check(form, o.Layers); err != nil {
		return err
	}
	dirs, release, err := form.open(o.Layers)
	if err != nil {
		return err
	}
	defer release()
	o.Layers = dirs
	return form.refused(mount(o, e.options(o)))
}

// accept reports whether a mount that was found at the target is the one asked for.
func (o Overlay) accept(found Mount) error {
	if found.FSType == "overlay" && found.Source == o.Source && found.ReadOnly != o.writable() {
		return nil
	}
	access := "writable"
	if found.ReadOnly {
		access = "read-only"
	}
	return fmt.Errorf("%w: %s of %q, %s; unmount it first", ErrOccupied, found.FSType, found.Source, access)
}
