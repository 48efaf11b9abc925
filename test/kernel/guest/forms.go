package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/erofsfile"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/linktree"
)

// The volumes in the form IDMappable: a linked tree, a copy, and an EROFS file.
const (
	linkedVolume = "linked"
	copiedVolume = "copied"
	fileVolume   = "file"
)

const (
	linkedTree = "imagecsi/" + driver + "/tree" // in the store
	copiedDir  = writableDir + "/copy/upper"
	filePath   = pluginDir + "/files/imagecsi:" + driver + "@tree"
)

// storeDir is the directory that holds the layers' directory.
func storeDir() string { return filepath.Dir(snapshots) }

// mappableForms has each form shown where it can be, its users mapped and its files used by a pod; or refused in one sentence.
func mappableForms(c cell) error { return errors.Join(linkedForm(c), copiedForm(c), fileForm(c)) }

// fileForm has an EROFS file shown, with SELinux too.
func fileForm(c cell) error {
	defer os.RemoveAll(filepath.Dir(filePath))
	if says := fileRefusal(c); says != "" {
		return c.inPlugin("refuse-file", says)
	}
	if err := c.inPlugin("show-file"); err != nil {
		return err
	}
	return errors.Join(usersAreMapped(target(fileVolume)), c.podOn(target(fileVolume), true, user, "read"), imageIsWhole(), c.inPlugin("hide-file"))
}

// fileRefusal is why the node plugin, as a cell confines it, shows no EROFS file, empty if it does.
func fileRefusal(c cell) string {
	switch release := kernelRelease(); {
	case strings.Contains(c.pluginLabel, ":container_t:"): // whatever the kernel: the file gets its label before it is mounted
		return "its SELinux policy lets the node plugin give no file the label" // as Bottlerocket's does
	case strings.HasPrefix(release, "5.10."):
		return "its kernel is older than Linux 5.12"
	case strings.HasPrefix(release, "6.1."):
		return "Linux 6.12 or newer"
	}
	return ""
}

func linkedForm(c cell) error {
	if says := linkedRefusal(); says != "" {
		return c.inPlugin("refuse-linked", says)
	}
	defer os.RemoveAll(filepath.Join(storeDir(), "imagecsi"))
	if err := c.inPlugin("show-linked"); err != nil {
		return err
	}
	return errors.Join(usersAreMapped(target(linkedVolume)), c.podWithItsUsers(target(linkedVolume), true, "read"), imageIsWhole(), c.inPlugin("hide-linked"))
}

// linkedRefusal is why this node shows no linked tree, empty if it does.
func linkedRefusal() string {
	switch {
	case strings.HasPrefix(kernelRelease(), "5.10."):
		return "its kernel is older than Linux 5.12"
	case securityModule() == "selinux":
		return "it has SELinux, and the labels of the image's files are shared"
	}
	return ""
}

// copiedForm has a copy shown, with SELinux too: with the label for volumes, and then with the pod's own, which a kubelet has the runtime
// give what a pod may write.
func copiedForm(c cell) error {
	defer os.RemoveAll(filepath.Dir(copiedDir))
	if says := copiedRefusal(c); says != "" {
		return c.inPlugin("refuse-copy", says)
	}
	if securityModule() == "selinux" { // what is made there by itself is another pod's
		if err := errors.Join(os.MkdirAll(copiedDir, 0o700), label(filepath.Dir(copiedDir), "system_u:object_r:data_t:s0:c3,c4")); err != nil {
			return err
		}
	}
	if err := c.inPlugin("show-copy"); err != nil {
		return err
	}
	err := errors.Join(usersAreMapped(target(copiedVolume)), c.podWithItsUsers(target(copiedVolume), false, "write-copy"))
	if securityModule() == "selinux" {
		err = errors.Join(err, hasLabel(copiedDir, hostmount.DefaultContext), label(copiedDir, c.podFiles),
			c.podWithItsUsers(target(copiedVolume), false, "write-copy-again"), c.isClosedToOthers(target(copiedVolume)))
	}
	return errors.Join(err, imageIsWhole(), c.inPlugin("hide-copy"))
}

// copiedRefusal is why the node plugin, as a cell confines it, shows no copy, empty if it does.
func copiedRefusal(c cell) string {
	switch {
	case strings.HasPrefix(kernelRelease(), "5.10."):
		return "its kernel is older than Linux 5.12"
	case strings.Contains(c.pluginLabel, ":container_t:"):
		return "its SELinux policy lets the node plugin give no file the label" // as Bottlerocket's does
	}
	return ""
}

// podWithItsUsers runs a pod with users of its own, for whom the runtime maps those of the volume. It is the image's user there.
func (c cell) podWithItsUsers(dir string, readOnly bool, args ...string) error {
	pod := podContainer(dir, readOnly, user, args...)
	pod.label, pod.files, pod.appArmor, pod.ownUsers = c.podLabel, c.podFiles, c.podAppArmor, true
	return ended(pod.run())
}

// isClosedToOthers fails if a pod with other categories can read what a pod made in its copy.
func (c cell) isClosedToOthers(dir string) error {
	other := c
	other.podLabel, other.podFiles = "system_u:system_r:container_t:s0:c3,c4", "system_u:object_r:data_t:s0:c3,c4"
	return other.podWithItsUsers(dir, true, "forbidden-copy")
}

// hasLabel fails unless all that the image has in a directory has a label. What a pod made there has the pod's categories.
func hasLabel(dir, want string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) == "new" {
			return err
		}
		found := make([]byte, 256)
		n, err := unix.Lgetxattr(path, "security.selinux", found)
		if got := strings.TrimRight(string(found[:max(n, 0)]), "\x00"); err != nil || got != want {
			return fmt.Errorf("the label of %s is %q: %w", path, got, errors.Join(err, errors.New("(that)")))
		}
		return nil
	})
}

func kernelRelease() string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	return unix.ByteSliceToString(name.Release[:])
}

// createFile makes a file with an image of nothing.
func createFile() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(filePath), 0o700); err != nil {
		return nil, err
	}
	file, err := os.Create(filePath)
	if err == nil {
		err = erofsfile.WriteEmpty(file)
	}
	return file, err
}

// refuseFile wants a node that can show no file to be told why.
func refuseFile(ctx context.Context, engine *hostmount.Engine, says string) error {
	file, err := createFile()
	if err != nil {
		return err
	}
	defer file.Close()
	err = engine.Label(file)
	if err == nil {
		err = engine.MountsFiles(ctx, filePath)
	}
	if !errors.Is(err, hostmount.ErrNotMappable) || !strings.Contains(err.Error(), says) {
		return fmt.Errorf("a file is not refused with %q: %w", says, errors.Join(err, errors.New("(that)")))
	}
	return nil
}

// showFile writes what an overlay shows to a file, and mounts it. With SELinux the file is as another pod's before it gets its label.
func showFile(ctx context.Context, engine *hostmount.Engine) error {
	file, err := createFile()
	if err != nil {
		return err
	}
	defer file.Close()
	if securityModule() == "selinux" {
		if err := label(filePath, "system_u:object_r:data_t:s0:c3,c4"); err != nil {
			return err
		}
	}
	if err := errors.Join(engine.Label(file), engine.MountsFiles(ctx, filePath)); err != nil {
		return err
	}
	overlay := volumes()[0]
	overlay.Target = pluginDir + "/look"
	shown, err := engine.OpenOverlay(ctx, overlay)
	if err != nil {
		return err
	}
	defer shown.Close()
	if _, err := erofsfile.Write(ctx, shown, file); err != nil {
		return err
	}
	mounted := hostmount.File{Path: filePath, Target: target(fileVolume)}
	return errors.Join(engine.MountFile(ctx, mounted), engine.MountFile(ctx, mounted))
}

// isRefused wants a refusal of the form, with some words.
func isRefused(err error, says string) error {
	if !errors.Is(err, hostmount.ErrNotMappable) || !strings.Contains(err.Error(), says) {
		return fmt.Errorf("the form is not refused with %q: %w", says, errors.Join(err, errors.New("(that)")))
	}
	return nil
}

func linkedBind() hostmount.Bind {
	return hostmount.Bind{Store: storeDir(), Dir: linkedTree, Target: target(linkedVolume)}
}

func copiedBind() hostmount.Bind {
	return hostmount.Bind{Store: filepath.Dir(copiedDir), Dir: filepath.Base(copiedDir), Writable: true, Target: target(copiedVolume)}
}

// showLinked makes a linked tree, and binds it.
func showLinked(ctx context.Context, engine *hostmount.Engine) error {
	opened, err := engine.OpenStore(ctx, storeDir())
	if err != nil {
		return err
	}
	defer opened.Close()
	for dir := range strings.SplitSeq("imagecsi imagecsi/"+driver+" "+linkedTree, " ") {
		if err := unix.Mkdirat(int(opened.Fd()), dir, 0o700); err != nil {
			return fmt.Errorf("making %s in the store: %w", dir, err)
		}
	}
	tree, err := hostmount.OpenDir(opened, linkedTree)
	if err != nil {
		return err
	}
	defer tree.Close()
	if _, err := linktree.Build(ctx, opened, layerNames(), tree); err != nil {
		return fmt.Errorf("linking: %w", err)
	}
	return errors.Join(engine.MountBind(ctx, linkedBind()), engine.MountBind(ctx, linkedBind()))
}

// showCopy makes a copy with the label for volumes, and binds it.
func showCopy(ctx context.Context, engine *hostmount.Engine) error {
	if err := os.MkdirAll(copiedDir, 0o700); err != nil {
		return err
	}
	into, err := os.Open(copiedDir)
	if err != nil {
		return err
	}
	defer into.Close()
	opened, err := engine.OpenStore(ctx, storeDir())
	if err != nil {
		return err
	}
	defer opened.Close()
	err = engine.FillLabelled(into, func() error {
		_, err := linktree.Copy(ctx, opened, layerNames(), into, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	return errors.Join(engine.MountBind(ctx, copiedBind()), engine.MountBind(ctx, copiedBind()))
}

// layerNames are the layers' paths in the store.
func layerNames() []string {
	var names []string
	for _, layer := range layers() {
		names = append(names, strings.TrimPrefix(layer, storeDir()+"/"))
	}
	return names
}

// hideCopy asks for a copy's statistics, unmounts it and removes it, whatever the pod and the runtime did to it.
func hideCopy(ctx context.Context, engine *hostmount.Engine) error {
	stat, err := engine.Stat(ctx, target(copiedVolume))
	if err == nil && stat.Bytes.Total == 0 {
		err = fmt.Errorf("the statistics of a copy are %+v", stat)
	}
	return errors.Join(err, engine.Unmount(ctx, target(copiedVolume)), os.RemoveAll(copiedDir))
}

// imageIsWhole fails if what a pod wrote to its copy is in the image.
func imageIsWhole() error {
	bottom := layers()[imageLayers-1]
	own, err := os.ReadFile(filepath.Join(bottom, "own"))
	if err == nil && string(own) != "mine" {
		err = fmt.Errorf("a file of the image holds %q", own)
	}
	changed, changedErr := os.ReadFile(filepath.Join(bottom, "dir/file"))
	if len(changed) > 0 {
		changedErr = fmt.Errorf("an empty file of the image holds %q", changed)
	}
	return errors.Join(err, changedErr)
}

// usersAreMapped does to a mount what a container runtime does for a pod with its own users.
func usersAreMapped(path string) error {
	waiting := exec.Command(program, rolePod, "wait")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100_000, Size: 65_536}}
	waiting.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	end, err := waiting.StdinPipe()
	if err == nil {
		err = waiting.Start()
	}
	if err != nil {
		return err
	}
	defer func() { _, _ = end.Close(), waiting.Wait() }()
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", waiting.Process.Pid))
	if err != nil {
		return err
	}
	defer users.Close()
	mount, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	err = unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())})
	if err != nil {
		return fmt.Errorf("mapping the users of %s: %w", path, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(mount, "own", &stat, 0); err != nil || stat.Uid != 100_000+user {
		return fmt.Errorf("a file of user %d in %s is of user %d: %w", user, path, stat.Uid, errors.Join(err, errors.New("(that)")))
	}
	return nil
}

// wait holds a user namespace until its parent has used it.
func wait() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// writeCopy changes what is the user's own.
func writeCopy() error {
	return errors.Join(readImage(), os.WriteFile("/volume/dir/file", []byte("changed"), 0o600), os.WriteFile("/volume/dir/new", nil, 0o600),
		expectErr(os.WriteFile("/volume/layer-1", nil, 0o644), unix.EACCES))
}

// writeCopyAgain finds what writeCopy changed.
func writeCopyAgain() error {
	changed, err := os.ReadFile("/volume/dir/file")
	if err != nil || string(changed) != "changed" {
		return fmt.Errorf("what the pod wrote is %q: %w", changed, errors.Join(err, errors.New("(that)")))
	}
	return writeCopy()
}
