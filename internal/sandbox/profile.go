package sandbox

import (
	"crypto/sha256"
	_ "embed" // the rules
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	// Directory is where profiles are, beneath the kubelet's directory for seccomp profiles.
	Directory = "imagecsi"

	// Prefix begins the name of every profile of every release, by which a pod names it (localhostProfile).
	Prefix = Directory + "/sandbox-"

	// hashDigits of a profile's hash are in its name.
	hashDigits = 12
)

// Calls returns the system calls that bubblewrap makes and containerd's default profile refuses. Each is needed; what a process can
// do with them is what its user namespace owns, because the pod has no users of the node.
func Calls() []string { return []string{"clone", "mount", "pivot_root", "umount2", "unshare"} }

// rules are containerd's default profile for a container without capabilities, of all architectures, and Calls. A test compares
// them with the pinned release of containerd, and writes them with -update.
//
//go:embed rules.json
var rules string

// Profile returns the profile for an architecture by Go's name, in the form of the OCI runtime specification (config-linux.md,
// "Seccomp"). Runtimes skip names of system calls that the architecture does not have.
func Profile(architecture string) []byte {
	return fmt.Appendf(nil, "{\n\"defaultAction\": \"SCMP_ACT_ERRNO\",\n\"architectures\": [%s],\n\"syscalls\": %s}\n", list(names(architecture)), rules)
}

// Name returns the name of this release's profile, as a pod has it in localhostProfile. It has a hash of the content: another
// profile has another name, so that containers which start again find the one that they had.
func Name() string {
	sum := sha256.New()
	for _, architecture := range []string{"amd64", "arm64", ""} {
		_, _ = sum.Write(Profile(architecture))
	}
	return Prefix + hex.EncodeToString(sum.Sum(nil))[:hashDigits] + ".json"
}

// names returns the architectures of the programs that a processor runs. Without one, a runtime takes the processor's own.
func names(architecture string) []string {
	switch architecture {
	case "amd64":
		return []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}
	case "arm64":
		return []string{"SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"}
	default:
		return nil
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return `"` + strings.Join(names, `", "`) + `"`
}
