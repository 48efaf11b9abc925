package hostmount

import "errors"

var (
	// ErrOccupied means that the target carries a mount that is not the one asked for.
	ErrOccupied = errors.New("the target carries another mount")

	// ErrBusy means that a mount could not be unmounted because files in it are in use.
	ErrBusy = errors.New("the mount is in use")

	// ErrNotEmpty means that a directory on which nothing is mounted holds files, which are not ours to remove.
	ErrNotEmpty = errors.New("the directory holds files, and nothing is mounted on it")

	// ErrTooManyLayers means that an overlay has more layers than the kernel stacks.
	ErrTooManyLayers = errors.New("too many layers")

	// ErrOptionsTooLong means that mount(2) would have cut the options of an overlay: it reads one page and silently
	// drops the rest.
	ErrOptionsTooLong = errors.New("mount options are too long for this kernel")

	// ErrBadTarget means that a target is not a plain path beneath the engine's root: relative, with "..", outside,
	// or through a symbolic link.
	ErrBadTarget = errors.New("bad target path")

	// ErrBadLayer means that a layer is not of its form, or is behind a symbolic link in the runtime's directory.
	ErrBadLayer = errors.New("bad layer")

	// ErrReadOnly means that the kernel mounted a writable overlay read-only, as it does when it may not use the
	// work directory.
	ErrReadOnly = errors.New("the overlay came up read-only")

	// ErrNoEROFS means that the kernel lacks what it takes to stack layers that are EROFS images.
	ErrNoEROFS = errors.New("this node's kernel cannot stack EROFS images")

	// ErrBadEROFS means that a layer is no EROFS image, a damaged one, or one that this kernel cannot read.
	ErrBadEROFS = errors.New("the layer is no sound EROFS image")

	// ErrNotMappable means that an image cannot be shown in a form whose users can be mapped.
	ErrNotMappable = errors.New("this node cannot show the image in the form IDMappable")

	// ErrNoQuota means that a file system enforces no project quotas, so that nothing on it can be limited.
	ErrNoQuota = errors.New("the file system enforces no project quotas")

	// ErrLimitTooLarge means that a file system's quotas cannot hold a limit.
	ErrLimitTooLarge = errors.New("the limit is larger than this file system's quotas can hold")

	// ErrClosed means that the engine was closed.
	ErrClosed = errors.New("the mount engine is closed")
)
