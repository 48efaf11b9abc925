package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// What the kernel should answer to somebody who has taken over a thread that mounts: "reaches" has one of them as its argument.
const (
	answerAllowed = "allowed"
	answerDenied  = "denied"
	// answerPartly is that of a kernel that does not ask AppArmor about move_mount(2), as before 6.7, and denies the rest.
	answerPartly = "denied but for move_mount"
)

// memoryVolume is a volume whose data is in the node's memory.
const memoryVolume = "memory"

// writableStep is a step of every cell, in which a pod changes what an image holds.
const writableStep = "a pod changes a writable volume"

// underOwnProfile returns steps with volumes, changed for the node plugin's own profile, and what it has to hold.
func underOwnProfile(volumes []step) []step {
	steps := slices.Clone(volumes)
	if hasLowerdirAppend() { // from 6.8; the profile allows writing from 6.7 on
		steps = append(steps, step{"a volume in memory", volumeInMemory})
	} else {
		at := slices.IndexFunc(steps, func(s step) bool { return s.name == writableStep })
		steps[at] = step{"a pod cannot change a writable volume, because this kernel judges by paths in the pod", writingIsDenied}
	}
	return append(steps, knows("appArmor=Localhost/"+ownProfile, ""),
		step{"a thread that mounts reaches nothing else", func(c cell) error { return c.reached(refused()) }})
}

func writingIsDenied(c cell) error {
	err := c.inPod(writableVolume, 0, "write")
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		return fmt.Errorf("a pod writes: %w", errors.Join(err, errors.New("(that)")))
	}
	return nil
}

// volumeInMemory publishes one, has a pod write to it and unpublishes it.
func volumeInMemory(c cell) error {
	if err := c.inPlugin("publish-memory"); err != nil {
		return err
	}
	return errors.Join(c.podOn(target(memoryVolume), false, 0, "write"), c.inPlugin("unpublish-memory"), nothingLeft(c))
}

func publishMemory(ctx context.Context, engine *hostmount.Engine) error {
	at := writableDir + "/memory"
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	return engine.MountOverlay(ctx, hostmount.Overlay{Source: "imagecsi:" + driver, Layers: layers(), Target: target(memoryVolume),
		Memory: &hostmount.Memory{At: at, Bytes: 64 << 20, Root: hostmount.Attributes{Mode: 0o755}}})
}

// outside is what a thread that mounts has nothing to do with.
func outside() map[string]func() error {
	return map[string]func() error{
		"write to the node's /etc":                          func() error { return create("/etc/escape") },
		"write a setting of the kernel's":                   func() error { return open("/proc/sys/kernel/core_pattern", unix.O_WRONLY) },
		"read a pod's token":                                func() error { return open(token, unix.O_RDONLY) },
		"read a process's environment":                      func() error { return open("/proc/1/environ", unix.O_RDONLY) },
		"read a process's memory":                           func() error { return open("/proc/1/mem", unix.O_RDONLY) },
		"make a file of the kubelet's":                      func() error { return create(kubeletRoot + "/escape") },
		"give a file of the node's another name, in a tree": linkIntoTree,
		"mount over the node's /etc": func() error {
			if err := unix.Mount("x", "/etc", "tmpfs", 0, ""); err != nil {
				return err
			}
			return unix.Unmount("/etc", 0)
		},
		"open a socket for packets": func() error {
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
			if errors.Is(err, unix.EPERM) { // by the capability that it lacks
				return nil
			}
			return errors.Join(err, unix.Close(fd))
		},
		"run a program of the node's": func() error {
			process, err := os.StartProcess("/usr/bin/guest", []string{"guest", rolePod, "ok"}, &os.ProcAttr{})
			if err != nil {
				return err
			}
			_, err = process.Wait()
			return err
		},
	}
}

// storesFile is a file of the node's in the file system of the layers, and no layer's.
func storesFile() string { return filepath.Join(storeDir(), "metadata.db") }

// linkIntoTree links a file of the node's where linked trees are, and removes all that it made.
func linkIntoTree() error {
	trees := filepath.Join(storeDir(), "imagecsi")
	defer os.RemoveAll(trees)
	if err := os.MkdirAll(filepath.Join(trees, driver), 0o700); err != nil {
		return errors.New("making the directory of trees, which is allowed: " + err.Error())
	}
	return os.Link(storesFile(), filepath.Join(trees, driver, "escape"))
}

// reached has a thread that mounts try what is outside, and wants an answer.
func (c cell) reached(answer string) error {
	if err := os.WriteFile(storesFile(), nil, 0o600); err != nil {
		return err
	}
	return errors.Join(c.inPlugin("reaches", answer), os.Remove(storesFile()))
}

// token is where the kubelet keeps the token of a pod's service account.
const token = kubeletRoot + "/pods/0f5c/volumes/kubernetes.io~projected/kube-api-access/token"

func create(name string) error {
	if err := open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY); err != nil {
		return err
	}
	return unix.Unlink(name)
}

func open(name string, flags int) error {
	fd, err := unix.Open(name, flags, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// overMounted is a directory of the node, on which a mount may stay.
const overMounted = "/run/escape"

// moveMount mounts over a directory of the node by the newer system calls.
func moveMount() error {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.MoveMount(mount, "", unix.AT_FDCWD, overMounted, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// reaches returns an error that names what a thread in the node's mount namespace is answered otherwise than it should be.
func reaches(answer string) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- errors.Join(enterNode(), reachesFrom(answer))
	}()
	return <-result
}

func reachesFrom(answer string) error {
	var wrong []error
	judge := func(what string, err error, answer string) {
		if answer == answerAllowed && err != nil || answer != answerAllowed && !errors.Is(err, unix.EACCES) {
			wrong = append(wrong, fmt.Errorf("to %s: %w, and it should be %s", what, errors.Join(err, errors.New("(that)")), answer))
		}
	}
	for what, try := range outside() {
		judge(what, try(), answer)
	}
	moved := answer
	if answer == answerPartly {
		moved = answerAllowed
	}
	judge("mount over the node's "+overMounted+" by move_mount", moveMount(), moved)
	return errors.Join(wrong...)
}

// enterNode does what a thread that mounts does.
func enterNode() error {
	namespace, err := unix.Open(filepath.Join(contract.HostNamespacePath, "mnt"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(namespace, unix.CLONE_NEWNS), unix.Chdir("/"))
}

// refused is the answer of a profile on this kernel.
func refused() string {
	if hasLowerdirAppend() {
		return answerDenied
	}
	return answerPartly
}
