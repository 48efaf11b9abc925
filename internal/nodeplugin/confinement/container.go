package confinement

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// Container is what the process's container is meant to run under.
type Container struct {
	asked        contract.Confinement
	capabilities uint64
	proc         string
}

// InContainer returns what a container is meant to run under, as the operator asks for it, with these capabilities at most if it is
// not privileged.
func InContainer(asked contract.Confinement, capabilities []privileges.Capability) *Container {
	return &Container{asked: asked, capabilities: privileges.Bits(capabilities), proc: procDir}
}

// Ready implements health.Check: it returns an error unless every thread runs under what the container is meant to, or under more. It
// is a *Less if it could look. A security module that the node does not have is no error where the container asks nothing of it.
//
// Call it once before Apply: what the process does to itself afterwards looks like the container's confinement.
func (c *Container) Ready(context.Context) error {
	if c.asked == (contract.Confinement{}) {
		return nil
	}
	selinux, err := c.onSELinux()
	if err != nil {
		return err
	}
	return everyThread(c.proc, func(dir string) error {
		thread, err := readStatus(dir)
		if err != nil {
			return err
		}
		labels, err := c.labelsOf(dir, selinux)
		if err != nil {
			return err
		}
		if err := c.holds(thread, labels); err != nil {
			return &Less{Thread: dir, What: fmt.Errorf("%w; compare the pod's securityContext, which another program may have changed, and the "+
				"container runtime's configuration with what the operator asks for: %s", err, c.asked)}
		}
		return nil
	})
}

// onSELinux reports whether the container asks for a label of SELinux, and the kernel runs with SELinux.
func (c *Container) onSELinux() (bool, error) {
	if (c.asked.SELinuxType == "" && c.asked.SELinuxLevel == "") || c.asked.SELinuxType == contract.SELinuxUnconfined {
		return false, nil
	}
	return hasSELinux(filepath.Join(c.proc, "filesystems"))
}

// asksAppArmor reports whether the container asks for a profile of AppArmor.
func (c *Container) asksAppArmor() bool {
	return c.asked.AppArmor != "" && c.asked.AppArmor != contract.ProfileUnconfined
}

// holds returns an error that names what a thread lacks.
func (c *Container) holds(thread status, labels labels) error {
	if c.asked.Unprivileged {
		if err := thread.within(c.capabilities, "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"); err != nil {
			return err
		}
		if err := thread.withoutNewPrivileges(); err != nil {
			return err
		}
	}
	if c.asked.Seccomp != "" && c.asked.Seccomp != contract.ProfileUnconfined {
		if err := thread.filtered(); err != nil {
			return fmt.Errorf("%w, so no seccomp profile filters its system calls, and %s should", err, c.asked.Seccomp)
		}
	}
	if c.asksAppArmor() {
		if err := labels.underAppArmor(c.asked.AppArmor); err != nil {
			return err
		}
	}
	return labels.underSELinux(c.asked.SELinuxType, c.asked.SELinuxLevel)
}
