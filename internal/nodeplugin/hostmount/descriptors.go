package hostmount

import (
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// descriptorDir is the directory in which the calling thread's open files have their numbers as names.
const descriptorDir = "/proc/thread-self/fd"

// DescriptorPath names an open file of this process by its descriptor, for calls that want a path: it is the file that was opened,
// wherever it is now.
func DescriptorPath(fd int) string { return path.Join(descriptorDir, strconv.Itoa(fd)) }

// descriptors are open files that are closed together.
type descriptors []int

func (d descriptors) close() {
	for _, fd := range d {
		closeFD(fd)
	}
}

// closeFD closes a descriptor that was only looked through; an error has no meaning for those.
func closeFD(fd int) { _ = unix.Close(fd) }
