package main

import (
	"errors"
	"fmt"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// pageOutProgram gives back those pages of the program's file that the start alone needed: half of what an idle node plugin has in
// memory. The kernel reads what is needed again. MADV_PAGEOUT changes no contents, whatever is mapped, and passes over pages that are not on
// the disk yet, as those of an image that was just pulled; MADV_DONTNEED does not, and code is never written (madvise(2), Linux 5.4).
func pageOutProgram() error {
	self, err := procfs.Self()
	if err != nil {
		return err
	}
	program, err := self.Executable()
	if err != nil {
		return err
	}
	maps, err := self.ProcMaps()
	if err != nil {
		return err
	}
	var failed []error
	for _, m := range maps {
		if m.Pathname != program || m.Perms.Write {
			continue
		}
		advice := []uintptr{unix.MADV_PAGEOUT}
		if m.Perms.Execute {
			advice = append(advice, unix.MADV_DONTNEED)
		}
		for _, a := range advice {
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, a); errno != 0 {
				failed = append(failed, fmt.Errorf("madvise %d of %d bytes at %#x: %w", a, m.EndAddr-m.StartAddr, m.StartAddr, errno))
			}
		}
	}
	return errors.Join(failed...)
}
