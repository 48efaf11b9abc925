package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/escapes"
	"github.com/image-csi/image-csi-operator/test/internal/imitate"
)

// A power is what a thread may have. Its use returns the kernel's answer.
type power struct {
	name string
	use  func() error
}

// powers are what some threads can do. What docs/security.md says of a node plugin that is taken over is held to this list.
func powers(runtimeSocket string) []power {
	return []power{
		{"write to the node's /etc", func() error { return made("/etc/imagecsi-escape") }},
		{"make a directory of the kubelet's and mount over it", func() error {
			const name = "/var/lib/kubelet/imagecsi-escape"
			if err := unix.Mkdir(name, 0o700); err != nil {
				return err
			}
			err := unix.Mount("escape", name, "tmpfs", 0, "")
			if err == nil {
				err = unix.Unmount(name, 0)
			}
			return errors.Join(err, unix.Rmdir(name))
		}},
		{"read the kubelet's directories of pods", func() error { return opened("/var/lib/kubelet/pods", unix.O_DIRECTORY) }},
		{"read a pod's token of a service account", func() error { return openedOne("/var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/*/token") }},
		{"read the kubelet's key", func() error { return opened("/var/lib/kubelet/pki/kubelet.key", unix.O_RDONLY) }},
		{"write the node's settings in /proc/sys", func() error { return opened("/proc/sys/kernel/core_pattern", unix.O_WRONLY) }},
		{"read the memory of the first process", func() error { return opened("/proc/1/mem", unix.O_RDONLY) }},
		{"see the files of the first process through /proc", func() error { return opened("/proc/1/root", unix.O_DIRECTORY) }},
		// By a socket there, it could answer under another driver's name.
		{"make a file where the kubelet looks for plugins", func() error { return made("/var/lib/kubelet/plugins_registry/imagecsi-escape") }},
		{"reach the container runtime", func() error { return connected(runtimeSocket) }},
	}
}

func made(name string) error {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(unix.Close(fd), unix.Unlink(name))
}

func opened(name string, flags int) error {
	fd, err := unix.Open(name, flags, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// openedOne opens one of the files that match for reading.
func openedOne(pattern string) error {
	err := fmt.Errorf("nothing is called %s", pattern)
	names, _ := filepath.Glob(pattern)
	for _, name := range names {
		if err = opened(name, unix.O_RDONLY); err == nil {
			return nil
		}
	}
	return err
}

// connected does what net.Dial does without its threads.
func connected(socket string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
}

// column is a kind of thread, and what somebody who has taken it over can do by docs/security.md.
type column struct {
	name, class, socket string
	mounts              bool   // a mount thread, in the node's mount namespace
	may                 string // of powers, in their order
}

func whoTakesOverANodePluginGetsNoMore(t *testing.T, s *suite) {
	s.attack(t,
		column{"containerd, serving", "containerd", containerdSocket, false, "no no no no no no no no yes yes"},
		column{"containerd, mounting", "containerd", containerdSocket, true, "yes yes yes yes yes yes no no yes yes"},
		column{"CRI-O, Bidirectional", "crio", crioSocket, false, "no yes yes yes yes yes no no yes yes"})
}

const (
	containerdSocket = "/run/containerd/containerd.sock"
	crioSocket       = "/run/crio/crio.sock"
)

// whoTakesOverAnUnprivilegedNodePluginOfCRIOGetsNoMore is the same of CRI-O nodes in mode Nsenter.
func whoTakesOverAnUnprivilegedNodePluginOfCRIOGetsNoMore(t *testing.T, s *suite) {
	s.attack(t,
		column{"CRI-O, Nsenter, serving", "crio", crioSocket, false, "no no no no no no no no yes yes"},
		column{"CRI-O, Nsenter, mounting", "crio", crioSocket, true, "yes yes yes yes yes yes no no yes yes"})
}

// attack tries every escape on a thread like each column's.
func (s *suite) attack(t *testing.T, columns ...column) {
	for _, column := range columns {
		t.Run(column.name, func(t *testing.T) {
			may, answers := triedAs(t, s.threadOf(t, nodes()[column.class], contract.NodePluginBinary, column.mounts), column.socket)
			for name, answer := range answers {
				if !errors.Is(answer, unix.EPERM) {
					t.Errorf("to %s: %v", name, answer)
				}
			}
			if may != column.may {
				t.Errorf("of its powers it has %q, and docs/security.md says %q", may, column.may)
			}
		})
	}
}

// whoIsNotConfinedGetsMore holds the tries to what they find where nothing refuses: a container runtime is as mighty as its node. A try that
// fails there would find nothing in a node plugin, either.
func whoIsNotConfinedGetsMore(t *testing.T, s *suite) {
	may, answers := triedAs(t, s.threadOf(t, nodes()["containerd"], "/opt/imagecsi/runtime/containerd", false), containerdSocket)
	if strings.Contains(may, "no") {
		t.Errorf("containerd lacks powers that it has: %q", may)
	}
	for name, answer := range answers {
		if errors.Is(answer, unix.EPERM) {
			t.Errorf("to %s is refused to a process without a filter, too", name)
		}
	}
}

// triedAs tries everything on a thread like another: which of powers it has, and what the kernel answers to each escape.
func triedAs(t *testing.T, thread int, runtimeSocket string) (may string, answers map[string]error) {
	t.Helper()
	answers = map[string]error{}
	var has []string
	err := imitate.Thread(thread, func() {
		for _, p := range powers(runtimeSocket) {
			answer := "yes"
			if p.use() != nil {
				answer = "no"
			}
			has = append(has, answer)
		}
		for _, e := range escapes.RefusedToAll() {
			answers[e.Name] = e.Try()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(has, " "), answers
}

// threadOf returns a thread of a node's program, as this machine numbers it: one that mounts, in another mount namespace than its process,
// or one that does not.
func (s *suite) threadOf(t *testing.T, node, program string, mounts bool) int {
	t.Helper()
	process := filepath.Dir(filepath.Dir(filepath.Dir(s.threadsOf(t, node, program)[0])))
	of := namespaceOf(t, process, "pid")
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		arguments, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err != nil || !strings.HasPrefix(string(arguments), program+"\x00") || namespaceOf(t, process, "pid") != of {
			continue
		}
		threads, err := filepath.Glob(filepath.Join(process, "task/[0-9]*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			if (namespaceOf(t, thread, "mnt") != namespaceOf(t, process, "mnt")) == mounts {
				tid, err := strconv.Atoi(filepath.Base(thread))
				if err != nil {
					t.Fatal(err)
				}
				return tid
			}
		}
	}
	t.Fatalf("no thread of %s on %s is such", program, node)
	return 0
}

// namespaceOf identifies a namespace of a process, or of a thread.
func namespaceOf(t *testing.T, process, kind string) string {
	t.Helper()
	namespace, err := os.Readlink(filepath.Join(process, "ns", kind))
	if err != nil {
		t.Fatal(err)
	}
	return namespace
}
