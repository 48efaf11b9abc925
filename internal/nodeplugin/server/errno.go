package server

import (
	"errors"
	"syscall"

	"google.golang.org/grpc/codes"
)

// Advice for whoever looks after a node, or its volumes.
const (
	freeMemory    = "the node is short of memory or of open files; look at what uses them there"
	mendDisk      = "a disk or a file system of the node fails; look at its kernel's log, and drain the node"
	mountWritable = "a file system of the node is read-only, as the kernel makes one that fails; look at its kernel's log, and drain the node"
	mountAgain    = "a file system of the node has lost its server; mount it again, or restart the node"
	askForLess    = "the node's file system cannot count that far; use a smaller sizeLimit"
	letGo         = "something on the node uses it; look for a mount or an open file there"
	emptyTarget   = "somebody wrote into the volume's directory while nothing was mounted there; move away what is in it, and the pod can end"
)

// codeOfNode gives codes to the kernel's refusals (errno(3)) that a node's resources, disks and file systems bring about,
// and not a defect of the node plugin. What remains is Internal: EINVAL, EPERM and their kind are an answer to a call that
// the node plugin should not have made, or could not make with the rights it has.
func codeOfNode(err error) codes.Code {
	code, _ := ofNode(err)
	return code
}

// adviceOn is what to do about such a refusal, "" where who met it says so.
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
		{syscall.EIO, codes.Unavailable, mendDisk},
		{syscall.EUCLEAN, codes.Unavailable, mendDisk}, // a damaged file system
		{syscall.EBADMSG, codes.Unavailable, mendDisk}, // a bad checksum in one
		{syscall.ENXIO, codes.Unavailable, mendDisk},   // a device that went away
		{syscall.ENODEV, codes.Unavailable, mendDisk},  // the same
		{syscall.ENODATA, codes.Unavailable, mendDisk}, // a medium that lost sectors
		{syscall.ESHUTDOWN, codes.Unavailable, mendDisk},
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
