package hostmount

import (
	"golang.org/x/sys/unix"
)

// hasCapability reports whether the calling thread may use capability c. In doubt it may.
func hasCapability(c int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	err := unix.Capget(&header, &sets[0])
	return err != nil || sets[c/32].Effective&(1<<(c%32)) != 0
}
