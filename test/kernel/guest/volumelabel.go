package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// volumesAreLabelled publishes volumes with a label that an administrator has chosen.
func volumesAreLabelled(c cell) error {
	const chosen = "system_u:object_r:data_t:s0" // the node plugin has no categories
	if err := c.inPlugin("publish-labelled", chosen); err != nil {
		return err
	}
	label := make([]byte, 256)
	n, err := unix.Lgetxattr(target(readOnlyVolume), "security.selinux", label)
	if got := strings.TrimRight(string(label[:max(n, 0)]), "\x00"); err != nil || got != chosen {
		err = fmt.Errorf("the volume's label is %q: %w", got, errors.Join(err, errors.New("(that)")))
	}
	return errors.Join(err, c.inPod(readOnlyVolume, user, "read"), c.inPod(writableVolume, 0, "write"), c.inPlugin("unpublish"), nothingLeft(c))
}

// anUnknownLabelIsTold starts the node plugin with a label that the policy does not have.
func anUnknownLabelIsTold(c cell) error {
	err := c.inPlugin("publish-labelled", "system_u:object_r:unheard_of_t:s0")
	if err == nil || !strings.Contains(err.Error(), "with the SELinux label system_u:object_r:unheard_of_t:s0 for the files of volumes") {
		return fmt.Errorf("the node plugin starts: %w", errors.Join(err, errors.New("(that)")))
	}
	return nil
}
