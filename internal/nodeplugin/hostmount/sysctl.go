package hostmount

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mountMax is the sysctl that bounds the mounts of each mount namespace (kernel, Documentation/admin-guide/sysctl/fs.rst).
const mountMax = "/proc/sys/fs/mount-max"

// MountMax is how many mounts the kernel allows in one mount namespace.
func MountMax() (int64, error) {
	content, err := os.ReadFile(mountMax)
	if err != nil {
		return 0, fmt.Errorf("reading how many mounts the kernel allows: %w", err)
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading how many mounts the kernel allows from %s: %w", mountMax, err)
	}
	return limit, nil
}
