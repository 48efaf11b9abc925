// Package erofsfile writes what a directory shows to a file, as an EROFS image, which the kernel mounts without a block device from
// Linux 6.12 on (EROFS_FS_BACKED_BY_FILE), and whose users it can map.
//
// The format is github.com/erofs/go-erofs's. This package adds what that leaves to its callers: contents are streamed, holes stay
// holes, the size is bounded, and several names of one file stay names of one.
package erofsfile
