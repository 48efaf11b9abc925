package hostmount

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// probePrefix starts the name of a directory on which the self test mounts.
const probePrefix = "check-"

// Check is the start-up self test: it proves that mounts go where pods get them from. It mounts a small tmpfs on a
// directory in dir, which lies beneath the root, looks for it in seen and unmounts it. The directory stays for the next
// start, which may find a full disk. The error says what to change.
//
// The process sees the same directory at seen, by a mount that only receives what the node mounts. An engine that mounts
// in the node's namespace takes dir itself for that. One that mounts in the process's own needs a second mount of the
// directory; without one (seen is empty) the check is only that dir's mount is shared.
func (e *Engine) Check(ctx context.Context, dir, seen string) error {
	probe, err := e.probeIn(ctx, dir)
	if err != nil {
		return fmt.Errorf("removing an earlier test file system in %s: %w", dir, err)
	}
	rel, err := e.beneathRoot(probe)
	if err != nil {
		return err
	}
	own, err := namespaceID()
	if err != nil {
		return err
	}
	err = e.do(ctx, func() error { return errors.Join(e.checkNamespace(own), e.checkShared(filepath.Dir(rel))) })
	if err != nil {
		return err
	}
	if err := e.do(ctx, func() error { return e.mountProbe(rel) }); err != nil {
		return fmt.Errorf("mounting a test file system in %s: %w", dir, err)
	}
	if seen != "" {
		err = e.lookFor(dir, seen, filepath.Base(probe))
	}
	return errors.Join(err, e.unmount(ctx, probe, keepDir))
}

// probeIn returns the directory of an earlier check, without what one that was killed has left mounted, or that of a new
// one. No other directory that might be taken for the node's has one of the same name.
func (e *Engine) probeIn(ctx context.Context, dir string) (string, error) {
	names, err := e.List(ctx, dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if strings.HasPrefix(name, probePrefix) {
			probe := filepath.Join(dir, name)
			return probe, e.unmount(ctx, probe, keepDir)
		}
	}
	return filepath.Join(dir, probePrefix+rand.Text()), nil
}

// checkNamespace fails if the engine is to mount in another namespace than the process's, but is in that one.
func (e *Engine) checkNamespace(own uint64) error {
	if e.config.NamespaceDir == "" {
		return nil
	}
	entered, err := namespaceID()
	if err == nil && entered == own {
		err = fmt.Errorf("%s leads to this container's own mount namespace: mount the host's /proc/1/ns there as a hostPath",
			e.config.NamespaceDir)
	}
	return err
}

// namespaceID identifies the calling thread's mount namespace.
func namespaceID() (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/mnt", &stat); err != nil {
		return 0, fmt.Errorf("looking at a thread's mount namespace: %w", err)
	}
	return stat.Ino, nil
}

// checkShared fails if the mounts that the engine makes in a directory stay in its namespace.
func (e *Engine) checkShared(rel string) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	dir, _, err := makeDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	real, err := pathOf(dir)
	if err != nil {
		return err
	}
	holder, err := holderOf(real)
	switch {
	case err != nil:
		return err
	case holder.peers != 0:
		return nil
	case e.config.NamespaceDir == "":
		return fmt.Errorf("what is mounted in %s stays in this container, because its mount %s is not shared: "+
			"give its volumeMount mountPropagation Bidirectional", real, holder.Target)
	default:
		return fmt.Errorf("what is mounted in %[1]s arrives in no container, because the node's mount %[2]s is not shared: "+
			"run `mount --make-rshared %[2]s` on the node, and at each boot before the kubelet starts", real, holder.Target)
	}
}

// holderOf returns the mount that a path lies in, in the calling thread's namespace.
func holderOf(path string) (Mount, error) {
	mounts, err := readMountTable()
	if err != nil {
		return Mount{}, err
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		if m := topmost(slices.Clone(mounts), dir); m != nil {
			return *m, nil
		}
		if dir == "/" {
			return Mount{}, fmt.Errorf("the mount table does not show what %s lies in", path)
		}
	}
}

// mountProbe mounts a tmpfs at rel, on a mount thread.
func (e *Engine) mountProbe(rel string) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	target, _, err := makeDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(target)
	data := "size=4k,mode=0700"
	if !e.chosenLabel() {
		return mountTmpfs(target, data)
	}
	// Volumes get it; a node whose policy does not have it is to be told from now, and not from the first volume.
	if err := mountTmpfs(target, data+`,context="`+e.config.Context+`"`); err != nil {
		return fmt.Errorf("with the SELinux label %s for the files of volumes, which the node's policy has to have: %w", e.config.Context, err)
	}
	return nil
}

// chosenLabel reports whether volumes get another label than they get by default.
func (e *Engine) chosenLabel() bool { return e.seLinux && e.config.Context != DefaultContext }

func mountTmpfs(target int, data string) error {
	err := unix.Mount("imagecsi-check", DescriptorPath(target), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data)
	if err != nil {
		return explain("mount", err, unix.CAP_SYS_ADMIN)
	}
	return nil
}

// lookFor checks, in the process's own view, that something is mounted at the probe.
func (e *Engine) lookFor(dir, seen, probe string) error {
	outside, err := device(seen)
	if err != nil {
		return err
	}
	inside, err := device(filepath.Join(seen, probe))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s in this container is not the node's directory %s: mount that one there as a hostPath", seen, dir)
	case err != nil || inside != outside:
		return err
	}
	receives, err := receives(seen)
	switch {
	case err != nil:
		return err
	case !receives:
		return fmt.Errorf("a mount that the node has in %s does not arrive at %s in this container: "+
			"give the volumeMount there mountPropagation HostToContainer, and see that the node's mount is shared", dir, seen)
	case e.config.NamespaceDir != "":
		return fmt.Errorf("what is mounted in %[1]s in the namespace of %[2]s does not arrive in this container: it is not the "+
			"node's namespace. Mount the host's /proc/1/ns at %[2]s as a hostPath", dir, e.config.NamespaceDir)
	}
	return fmt.Errorf("what is mounted in %[1]s does not reach the node: this container's mount of it is shared, but not "+
		"with the node's. Give its volumeMount mountPropagation Bidirectional, and see on the node that its mount is shared "+
		"(`findmnt -o TARGET,PROPAGATION -T %[1]s`, `mount --make-rshared`)", dir)
}

// receives reports whether the mount that holds path gets what is mounted in another one.
func receives(path string) (bool, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, fmt.Errorf("looking at the test directory in this container: %w", err)
	}
	holder, err := holderOf(real)
	return holder.master != 0, err
}

// device returns the number of the file system that holds path.
func device(path string) (uint64, error) {
	info, err := os.Stat(path) //nolint:gosec // the directory is the driver's own
	if err != nil {
		return 0, fmt.Errorf("looking at the test directory in this container: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("looking at %s: no device number", path)
	}
	return stat.Dev, nil
}
