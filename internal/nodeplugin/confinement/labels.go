package confinement

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// labels are what security modules call a thread. An empty one was not asked for, or the kernel does not run with the module.
type labels struct{ appArmor, selinux string }

// labelsOf reads what the container asks for of the labels of the thread with a directory.
func (c *Container) labelsOf(dir string, selinux bool) (labels, error) {
	var out labels
	var err error
	if c.asksAppArmor() {
		if out.appArmor, err = appArmorLabel(dir); err != nil {
			return out, err
		}
	}
	if selinux {
		if out.selinux, err = readLabel(filepath.Join(dir, "attr/current")); err == nil && out.selinux == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return out, fmt.Errorf("reading the SELinux label of thread %s: %w", dir, err)
		}
	}
	return out, nil
}

// appArmorLabel returns AppArmor's label of a thread, and an empty one if the kernel does not run with AppArmor. Kernels before 5.8
// have it only in the file that the modules share.
func appArmorLabel(dir string) (string, error) {
	label, err := readLabel(filepath.Join(dir, "attr/apparmor/current"))
	if errors.Is(err, os.ErrNotExist) {
		label, err = readLabel(filepath.Join(dir, "attr/current"))
	}
	switch {
	case errors.Is(err, unix.EINVAL): // no module answers
		return "", nil
	case errors.Is(err, os.ErrNotExist) && !isGone(dir): // a kernel without any
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading the AppArmor profile of thread %s: %w", dir, err)
	}
	return label, nil
}

func readLabel(file string) (string, error) {
	content, err := os.ReadFile(file)
	return strings.TrimRight(string(content), "\x00\n"), err
}

// hasSELinux reports whether the kernel runs with SELinux: only then it registers SELinux's file system.
func hasSELinux(filesystems string) (bool, error) {
	content, err := os.ReadFile(filesystems)
	if err != nil {
		return false, fmt.Errorf("finding out whether the node has SELinux: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == "selinuxfs" {
			return true, nil
		}
	}
	return false, nil
}

// underAppArmor returns an error unless the thread is held by a profile: the one with the name in Localhost/NAME, or any.
func (l labels) underAppArmor(asked string) error {
	if l.appArmor == "" {
		return fmt.Errorf("it has no AppArmor profile, and should have %s: AppArmor is not enabled on this node", asked)
	}
	// "NAME (MODE)", or "unconfined". A stack of profiles has "//&" between their names, all of which hold, and one mode if
	// that is the same for all (apparmor(7), aa_getcon(2)).
	names, mode := l.appArmor, ""
	if at := strings.LastIndex(l.appArmor, " ("); at >= 0 && strings.HasSuffix(l.appArmor, ")") {
		names, mode = l.appArmor[:at], l.appArmor[at+len(" ("):len(l.appArmor)-1]
	}
	if mode != "enforce" && mode != "kill" {
		return fmt.Errorf("its AppArmor profile is %.256q, which is not enforced, and should be %s", l.appArmor, asked)
	}
	name, isLocal := strings.CutPrefix(asked, contract.ProfileLocalhost+"/")
	if isLocal && !slices.Contains(strings.Split(names, "//&"), name) {
		return fmt.Errorf("its AppArmor profile is %.256q, and should be %s", l.appArmor, asked)
	}
	return nil
}

// underSELinux returns an error unless the thread has the type and the level that the container asks for.
func (l labels) underSELinux(kind, level string) error {
	if l.selinux == "" {
		return nil
	}
	fields := append(strings.SplitN(l.selinux, ":", 4), "", "", "", "") // user, role, type, level
	if kind != "" && fields[2] != kind {
		return fmt.Errorf("its SELinux label is %.256q, and its type should be %s", l.selinux, kind)
	}
	if level != "" && fields[3] != level {
		return fmt.Errorf("its SELinux label is %.256q, and its level should be %s", l.selinux, level)
	}
	return nil
}
