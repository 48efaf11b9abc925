package confinement

import (
	"path/filepath"
	"strconv"

	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// Report returns what the kernel says of the calling thread. Ready compares every thread with what it should be.
func (c *Container) Report() (liveview.Confinement, error) {
	thread := filepath.Join(c.proc, "thread-self")
	seen, err := readStatus(thread)
	if err != nil {
		return liveview.Confinement{}, err
	}
	out := liveview.Confinement{Capabilities: seen["CapEff"], SeccompFilters: seen.filters(), Seccomp: modeOf(seen["Seccomp"])}
	out.NoNewPrivileges, _ = strconv.Atoi(seen["NoNewPrivs"])
	selinux, err := c.onSELinux()
	if err != nil {
		return out, err
	}
	labels, err := c.labelsOf(thread, selinux)
	out.AppArmor, out.SELinux = labels.appArmor, labels.selinux
	return out, err
}

// modeOf names a mode of seccomp(2).
func modeOf(mode string) string {
	switch mode {
	case "0":
		return "Disabled"
	case "1":
		return "Strict"
	case "2":
		return "Filter"
	default:
		return ""
	}
}
