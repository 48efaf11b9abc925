package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// imageLayers is how many layers the image has; the first one is on top.
const imageLayers = 10

// user owns files in the image, as most images' users do.
const user = 1000

// fileCapability is CAP_NET_RAW, permitted and effective, as the extended attribute security.capability.
var fileCapability = []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// layers are the image's directories, as the runtime unpacked them.
func layers() []string {
	var dirs []string
	for i := range imageLayers {
		dirs = append(dirs, filepath.Join(snapshots, fmt.Sprint(100-i), "fs"))
	}
	return dirs
}

// makeImage unpacks the image. In its layers are what pods trip over: files that only their owner may read or run,
// set-ID files, file capabilities, devices, and files that an upper layer removed.
func makeImage() error {
	for i, dir := range layers() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("layer-%d", i)), []byte("x"), 0o644); err != nil {
			return err
		}
	}
	tool, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	bottom := layers()[imageLayers-1]
	in := func(name string) string { return filepath.Join(bottom, name) }
	return errors.Join(
		os.WriteFile(in("gone"), nil, 0o644),
		unix.Mknod(filepath.Join(layers()[0], "gone"), unix.S_IFCHR, 0),
		os.WriteFile(in("own"), []byte("mine"), 0o600), os.Chown(in("own"), user, user),
		os.Mkdir(in("dir"), 0o700), os.WriteFile(in("dir/file"), nil, 0o600),
		os.Chown(in("dir/file"), user, user), os.Chown(in("dir"), user, user),
		os.WriteFile(in("tool"), tool, 0o700), os.Chown(in("tool"), user, user),
		os.Mkdir(in("proc"), 0o755),
		os.WriteFile(in("setuid"), nil, 0o755), unix.Chmod(in("setuid"), 0o4755),
		os.WriteFile(in("capable"), nil, 0o755), unix.Setxattr(in("capable"), "security.capability", fileCapability, 0),
		unix.Mknod(in("device"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))),
	)
}
