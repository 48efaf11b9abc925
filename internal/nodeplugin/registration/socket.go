package registration

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// maxSocketPath is the kernel's bound for the path of a Unix socket: sun_path in unix(7) without its final zero byte.
const maxSocketPath = 107

// Listen opens a Unix socket for root alone, in the place of one that a killed process left behind. Anything else at
// the path is an error, and stays.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %s has %d bytes and the kernel takes %d; a shorter driver name or kubelet root helps",
			path, len(path), maxSocketPath)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s exists and is not a socket; remove it", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the socket of an earlier process: %w", err)
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}
