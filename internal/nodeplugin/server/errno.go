package server

import (
	"errors"
	"syscall"

	"google.golang.org/grpc/codes"
)

// Advice for the administrator of a node, or of its volumes.
const (
	freeMemory    = "the node is short of memory or of open files; find out what uses them"
	checkDisk     = "a disk or a file system of the node fails; check its kernel's log, and drain the node"
	mountWritable = "a file system of the node is read-only, as the kernel makes one that fails; check its kernel's log, and drain the node"
	mountAgain    = "a file system of the node has lost its server; mount it again, or restart the node"
	askForLess    = "the node's file system cannot count that far; use a smaller sizeLimit"
	letGo         = "something on the node uses it; look for a mount or an open file there"
	emptyTarget   = "files were written to the volume's directory while nothing was mounted there; move them away, and the pod can end"
)

// codeOfNode maps the kernel's errors (errno(3)) that come from a node's resources, disks and file systems, and not from a
// defect of the node plugin. All others are Internal: EINVAL, EPERM and the like answer a call that the node plugin should not
// have made, or could not make with its rights.
func codeOfNode(err error) codes.Code {
	code, _ := ofNode(err)
	return code
}

// adviceOn returns what to do about such an error. It is empty where the error itself says so.
func adviceOn(err error) string {
	_, advice := ofNode(err)
	return advice
}

func ofNode(err error) (code codes.Code, advice string) {
	for _, known := range []struct {
		errno  syscall.Errno
		code   codes.Code
		advice string
	}{
		{syscall.ENOSPC, codes.ResourceExhausted, ""},
		{syscall.EDQUOT, codes.ResourceExhausted, ""},
		{syscall.ENOMEM, codes.ResourceExhausted, freeMemory},
		{syscall.EMFILE, codes.ResourceExhausted, freeMemory},
		{syscall.ENFILE, codes.ResourceExhausted, freeMemory},
		{syscall.EROFS, codes.FailedPrecondition, mountWritable},
		{syscall.EIO, codes.Unavailable, checkDisk},
		{syscall.EUCLEAN, codes.Unavailable, checkDisk}, // a damaged file system
		{syscall.EBADMSG, codes.Unavailable, checkDisk}, // a bad checksum in one
		{syscall.ENXIO, codes.Unavailable, checkDisk},   // a device that went away
		{syscall.ENODEV, codes.Unavailable, checkDisk},  // the same
		{syscall.ENODATA, codes.Unavailable, checkDisk}, // a medium that lost sectors
		{syscall.ESHUTDOWN, codes.Unavailable, checkDisk},
		{syscall.ESTALE, codes.Unavailable, mountAgain},
		{syscall.ENOTCONN, codes.Unavailable, mountAgain},
		{syscall.ETIMEDOUT, codes.Unavailable, mountAgain},
		{syscall.EREMOTEIO, codes.Unavailable, mountAgain},
		{syscall.EHOSTDOWN, codes.Unavailable, mountAgain},
		{syscall.EHOSTUNREACH, codes.Unavailable, mountAgain},
		{syscall.ENETDOWN, codes.Unavailable, mountAgain},
		{syscall.ENETUNREACH, codes.Unavailable, mountAgain},
		{syscall.EAGAIN, codes.Unavailable, freeMemory}, // no room for another thread
		{syscall.EBUSY, codes.FailedPrecondition, letGo},
		{syscall.ERANGE, codes.FailedPrecondition, askForLess},
		{syscall.EOVERFLOW, codes.FailedPrecondition, askForLess},
		{syscall.EFBIG, codes.FailedPrecondition, askForLess},
		{syscall.ENOTEMPTY, codes.FailedPrecondition, emptyTarget},
	} {
		if errors.Is(err, known.errno) {
			return known.code, known.advice
		}
	}
	return codes.Internal, ""
}
