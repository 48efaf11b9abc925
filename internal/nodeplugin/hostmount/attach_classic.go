package hostmount

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// attachClassic makes the mount with mount(2), for kernels and values that fsconfig(2) does not serve. The target is
// named by its descriptor, so that it is the directory that was checked.
func attachClassic(o Overlay, opts options, root int, rel string, target int) error {
	data, err := opts.data()
	if errors.Is(err, ErrOptionsTooLong) {
		short, closeAll, openErr := opts.byDescriptor()
		if openErr != nil {
			return errors.Join(err, openErr)
		}
		defer closeAll()
		opts = short
		data, err = opts.data()
	}
	if err != nil {
		return err
	}
	if err := unix.Chdir(opts.base); err != nil {
		return fmt.Errorf("changing to the layers' directory %s: %w", opts.base, err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if !o.writable() {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(o.Source, DescriptorPath(target), "overlay", flags, data); err != nil {
		return explain(fmt.Sprintf("mounting an overlay with options %q in %s", data, opts.base), err, unix.CAP_SYS_ADMIN)
	}
	if o.writable() {
		return keepIfWritable(root, rel)
	}
	return nil
}

// keepIfWritable checks the mount that was just made, and unmounts it if it is read-only.
func keepIfWritable(root int, rel string) error {
	mounted, err := openDir(root, rel)
	if err != nil {
		return err
	}
	err = checkWritable(mounted)
	closeFD(mounted)
	if err != nil {
		return errors.Join(err, unmountAll(root, rel, removeDir))
	}
	return nil
}

// byDescriptor opens every lower directory and names it by its descriptor's number, a few bytes each, however long
// its path is.
func (o options) byDescriptor() (short options, closeAll func(), err error) {
	var fds descriptors
	short = options{base: descriptorDir, rest: o.rest}
	for _, lower := range o.lowers {
		if !path.IsAbs(lower) {
			lower = path.Join(o.base, lower)
		}
		fd, err := unix.Open(lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			fds.close()
			return options{}, nil, fmt.Errorf("opening layer %s: %w", lower, err)
		}
		fds = append(fds, fd)
		short.lowers = append(short.lowers, strconv.Itoa(fd))
	}
	return short, fds.close, nil
}
