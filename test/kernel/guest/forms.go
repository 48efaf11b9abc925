package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func mappableForms(c cell) error { return errors.Join(linkedForms(c), fileForm(c)) }

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
	case strings.HasPrefix(release, "5.10."):
		return "its kernel is older than Linux 5.12"
	case strings.HasPrefix(release, "6.1."):
		return "Linux 6.12 or newer"
	case strings.Contains(c.pluginLabel, ":container_t:"):
		return "its SELinux policy lets the node plugin" // as Bottlerocket's does
	}
	return ""
}

func linkedForms(c cell) error {
	if says := formsRefusal(); says != "" {
		return c.inPlugin("refuse-forms", says)
	}
	defer os.RemoveAll(filepath.Join(storeDir(), "imagecsi"))
	if err := c.inPlugin("show-forms"); err != nil {
		return err
	}
	return errors.Join(
		usersAreMapped(target(linkedVolume)), usersAreMapped(target(copiedVolume)),
		c.podOn(target(linkedVolume), true, user, "read"), c.podOn(target(copiedVolume), false, user, "write-copy"),
		imageIsWhole(), c.inPlugin("hide-forms"),
	)
}

// formsRefusal is why this node shows no such volume, empty if it does.
func formsRefusal() string {
	if strings.HasPrefix(kernelRelease(), "5.10.") {
		return "its kernel is older than Linux 5.12"
	}
	if securityModule() == "selinux" {
		return "it has SELinux"
	}
	return ""
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

// refuseForms wants both forms refused before anything is made.
func refuseForms(ctx context.Context, engine *hostmount.Engine, says string) error {
	_, err := engine.OpenStore(ctx, storeDir())
	for _, err := range []error{err, engine.MountBind(ctx, linkedBind()), engine.MountBind(ctx, copiedBind())} {
		if !errors.Is(err, hostmount.ErrNotMappable) || !strings.Contains(err.Error(), says) {
			return fmt.Errorf("the form is not refused with %q: %w", says, errors.Join(err, errors.New("(that)")))
		}
	}
	return nil
}

func linkedBind() hostmount.Bind {
	return hostmount.Bind{Store: storeDir(), Dir: linkedTree, Target: target(linkedVolume)}
}

func copiedBind() hostmount.Bind {
	return hostmount.Bind{Store: filepath.Dir(copiedDir), Dir: filepath.Base(copiedDir), Writable: true, Target: target(copiedVolume)}
}

// showForms makes a linked tree and a copy, and binds them.
func showForms(ctx context.Context, engine *hostmount.Engine) error {
	opened, err := engine.OpenStore(ctx, storeDir())
	if err != nil {
		return err
	}
	defer opened.Close()
	var names []string
	for _, layer := range layers() {
		names = append(names, strings.TrimPrefix(layer, storeDir()+"/"))
	}
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
	if _, err := linktree.Build(ctx, opened, names, tree); err != nil {
		return fmt.Errorf("linking: %w", err)
	}
	if err := os.MkdirAll(copiedDir, 0o700); err != nil {
		return err
	}
	into, err := os.Open(copiedDir)
	if err != nil {
		return err
	}
	defer into.Close()
	if _, err := linktree.Copy(ctx, opened, names, into, 0); err != nil {
		return fmt.Errorf("copying: %w", err)
	}
	for _, bind := range []hostmount.Bind{linkedBind(), copiedBind()} {
		if err := errors.Join(engine.MountBind(ctx, bind), engine.MountBind(ctx, bind)); err != nil {
			return err
		}
	}
	return nil
}

func hideForms(ctx context.Context, engine *hostmount.Engine) error {
	return errors.Join(engine.Unmount(ctx, target(linkedVolume)), engine.Unmount(ctx, target(copiedVolume)))
}

// imageIsWhole fails if what a pod wrote to its copy is in the image.
func imageIsWhole() error {
	own, err := os.ReadFile(filepath.Join(layers()[imageLayers-1], "own"))
	if err == nil && string(own) != "mine" {
		err = fmt.Errorf("a file of the image holds %q", own)
	}
	return err
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
	return errors.Join(readImage(), os.WriteFile("/volume/own", []byte("changed"), 0o600), os.WriteFile("/volume/dir/new", nil, 0o600),
		expectErr(os.WriteFile("/volume/layer-1", nil, 0o644), unix.EACCES))
}
