package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pageOutProgram gives back those pages of the program's file that the start alone needed: half of what an idle node plugin has in
// memory. The kernel reads what is needed again. It changes no contents, whatever is mapped (madvise(2), MADV_PAGEOUT, Linux 5.4).
func pageOutProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	var failed []error
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		fields := strings.SplitN(lines.Text(), " ", 6) // start-end permissions offset device inode path
		if len(fields) < 6 || strings.TrimLeft(fields[5], " ") != program || strings.Contains(fields[1], "w") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, startErr := strconv.ParseUint(from, 16, 64)
		end, endErr := strconv.ParseUint(to, 16, 64)
		if err := errors.Join(startErr, endErr); err != nil {
			return fmt.Errorf("reading /proc/self/maps: %w", err)
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_PAGEOUT); errno != 0 {
			failed = append(failed, fmt.Errorf("madvise of %s: %w", fields[0], errno))
		}
	}
	return errors.Join(failed...)
}
