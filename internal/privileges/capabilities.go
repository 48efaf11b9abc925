package privileges

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Capability is a capability by its number (capabilities(7)).
type Capability int

// String returns a capability's name as a pod's securityContext spells it.
func (c Capability) String() string {
	switch c {
	case unix.CAP_CHOWN:
		return "CHOWN"
	case unix.CAP_DAC_OVERRIDE:
		return "DAC_OVERRIDE"
	case unix.CAP_FOWNER:
		return "FOWNER"
	case unix.CAP_FSETID:
		return "FSETID"
	case unix.CAP_SYS_CHROOT:
		return "SYS_CHROOT"
	case unix.CAP_SYS_PTRACE:
		return "SYS_PTRACE"
	case unix.CAP_SYS_ADMIN:
		return "SYS_ADMIN"
	case unix.CAP_MKNOD:
		return "MKNOD"
	case unix.CAP_SETFCAP:
		return "SETFCAP"
	default:
		return fmt.Sprintf("number %d", int(c))
	}
}

// Bits returns capabilities as the kernel's sets have them, each at its number (capabilities(7)).
func Bits(capabilities []Capability) uint64 {
	var bits uint64
	for _, c := range capabilities {
		bits |= 1 << c
	}
	return bits
}

// Container returns the capabilities of the container that mounts in the host's mount namespace: those with which its threads
// enter it (setns(2), and proc(5) for opening the namespace's link), and those that it keeps. It has none of those dropped.
func Container(access contract.Access, dropped ...Capability) []Capability {
	return append([]Capability{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE}, overlays(access, dropped)...)
}

// Serving returns the capabilities that a process which serves keeps.
func Serving(access contract.Access, dropped ...Capability) []Capability {
	return append([]Capability{unix.CAP_SYS_ADMIN}, overlays(access, dropped)...)
}

// Droppable returns the capabilities without which a node plugin works, sorted by name. What each is for is then refused to pods in
// writable volumes: that a set-group-ID bit outlives a change by others than the group, device nodes, and capabilities of files.
func Droppable() []Capability { return []Capability{unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP} }

// ParseDropped reads names of capabilities that may be dropped, with commas between them. The empty text is none.
func ParseDropped(text string) ([]Capability, error) {
	var out []Capability
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		at := slices.IndexFunc(Droppable(), func(c Capability) bool { return c.String() == name })
		if at < 0 {
			return nil, fmt.Errorf("a node plugin cannot do without capability %.64q, or has none of that name; those that it can do without are %v", name, Droppable())
		}
		out = append(out, Droppable()[at])
	}
	return out, nil
}

// overlays are what overlays take: the kernel checks every access a second time with the credentials of the overlay's mounter
// (kernel documentation, overlayfs.rst, "Permission model"). Without DAC_OVERRIDE, a pod cannot read its own files in the image.
// FOWNER removes what pods wrote to directories of theirs, also when the driver has become read-only since. Without the others,
// a pod that writes cannot have files copied to its layer.
func overlays(access contract.Access, dropped []Capability) []Capability {
	if access == contract.AccessReadOnly {
		return []Capability{unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER}
	}
	all := []Capability{unix.CAP_DAC_OVERRIDE, unix.CAP_CHOWN, unix.CAP_FOWNER, unix.CAP_SETFCAP, unix.CAP_MKNOD, unix.CAP_FSETID}
	return slices.DeleteFunc(all, func(c Capability) bool { return slices.Contains(dropped, c) })
}
