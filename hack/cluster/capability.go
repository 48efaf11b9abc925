package cluster

import "golang.org/x/sys/unix"

// Capabilities that matter here; the numbers are the kernel's (linux/capability.h).
const (
	capNetAdmin    = 12
	capSysAdmin    = 21
	capMknod       = 27
	capSysResource = 24
)

// hasCapability reports whether this process has the capability in effect.
func hasCapability(number uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[number/32].Effective&(1<<(number%32)) != 0
}
