package hostmount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// explain wraps the error of a system call that a pod's security settings can deny with the setting to change. The
// capabilities are those that the call needs.
func explain(attempt string, err error, needs ...int) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w; mount the host's directory there or correct its path", attempt, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: %w; it is not what the kernel expects here", attempt, err)
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w", attempt, err)
	}
	for _, c := range needs {
		if !hasCapability(c) {
			return fmt.Errorf("%s: %w; the container lacks capability %[3]s, add %[3]s to its "+
				"securityContext.capabilities", attempt, err, privileges.Capability(c))
		}
	}
	if profile := appArmorProfile(); profile != "" {
		return fmt.Errorf("%s: %w; the AppArmor profile %q denies it, set the container's appArmorProfile to "+
			"Unconfined or to one that allows mounts", attempt, err, profile)
	}
	return fmt.Errorf("%s: %w; a seccomp profile, SELinux or another security module of the node denies it",
		attempt, err)
}

// appArmorProfile names the AppArmor profile that confines the calling thread; empty where none does. See the
// kernel's Documentation/admin-guide/LSM/apparmor.rst.
func appArmorProfile() string {
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || !bytes.HasPrefix(enabled, []byte("Y")) {
		return ""
	}
	label, err := os.ReadFile("/proc/thread-self/attr/current")
	if err != nil {
		return ""
	}
	profile, mode, _ := strings.Cut(strings.TrimRight(string(label), "\n\x00"), " ")
	if profile == "unconfined" || mode == "(complain)" {
		return ""
	}
	return profile
}

// seLinuxEnabled reports whether SELinux is enabled, enforcing or not. The list of file systems is readable in any
// container, unlike selinuxfs itself.
func seLinuxEnabled() (bool, error) {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false, err
	}
	return bytes.Contains(list, []byte("\tselinuxfs\n")), nil
}
