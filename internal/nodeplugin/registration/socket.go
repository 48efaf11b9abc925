package registration

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is the kernel's bound for the path of a Unix socket: sun_path in unix(7) without its final zero byte.
	maxSocketPath = 107

	// draftDigits end the name of a draft; they are as many as the letters of ".sock" less the dot in front, so that the
	// draft's path is as long as the socket's.
	draftDigits = 4

	// maxDrafts bounds the names that are tried; one is taken when another process is at the same step.
	maxDrafts = 16
)

// Socket listens on a Unix socket in a directory to which other processes write as well, and notices if the path no longer leads
// to it. It is a net.Listener that goes on accepting after it was placed again.
type Socket struct {
	path string
	took string // the process that listened at the path before, if any

	mu       sync.Mutex
	listener *net.UnixListener // the latest
	bound    inode             // what the path led to when it was placed
	closed   bool
}

// inode identifies a file, whatever its names are. The kernel gives its number to no other file while the socket is open.
type inode struct{ device, number uint64 }

// Listen opens a Unix socket for root only, and replaces any socket at the path. Anything else at the path is an error, and
// stays. The socket is bound under a hidden name and renamed, so that the path always leads to a socket. The kubelet's plugin
// watcher ignores names that start with a dot (pkg/kubelet/pluginmanager/pluginwatcher).
func Listen(path string) (*Socket, error) {
	s := &Socket{path: path}
	if holder, alive := holderOf(path); alive {
		s.took = holder
	}
	if err := s.place(); err != nil {
		return nil, err
	}
	return s, nil
}

// LogTaken logs if the socket replaced one at which a living process listens.
func (s *Socket) LogTaken(log *slog.Logger) {
	if s.took != "" {
		log.Warn("a socket was taken over from a process that still listens; stop that process, or the two take the path from each other",
			"socket", s.path, "holder", s.took)
	}
}

// place puts a new socket at the path, and goes on accepting there. Connections that were accepted before stay open.
func (s *Socket) place() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	listener, bound, err := bind(s.path)
	if err != nil {
		return err
	}
	earlier := s.listener
	s.listener, s.bound = listener, bound
	if earlier != nil {
		_ = earlier.Close()
	}
	return nil
}

// Accept waits for the next connection (net.Listener).
func (s *Socket) Accept() (net.Conn, error) {
	for {
		s.mu.Lock()
		listener := s.listener
		s.mu.Unlock()
		conn, err := listener.Accept()
		if err == nil {
			return conn, nil
		}
		s.mu.Lock()
		replaced := s.listener != listener && !s.closed
		s.mu.Unlock()
		if !replaced {
			return nil, err
		}
	}
}

// Addr is the socket's path (net.Listener).
func (s *Socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close stops listening, and removes the path if it still leads to this socket. The removal of that name is the only sign for the
// kubelet. The kernel removes names and not inodes, so a process that takes the path between the look and the removal loses its
// socket, and has to watch it, too.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.holds() {
		err = os.Remove(s.path)
	}
	// Last, because while the socket is open no other inode gets its number.
	return errors.Join(err, s.listener.Close())
}

// Held reports whether the path leads to this socket.
func (s *Socket) Held() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds()
}

func (s *Socket) holds() bool {
	found, err := look(s.path)
	return err == nil && found == s.bound
}

// bind listens at a hidden name beside the path and renames that into place.
func bind(path string) (*net.UnixListener, inode, error) {
	if len(path) > maxSocketPath {
		return nil, inode{}, fmt.Errorf("the path %s has %d bytes and the kernel takes %d; a shorter driver name or kubelet root helps",
			path, len(path), maxSocketPath)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, inode{}, fmt.Errorf("%s exists and is not a socket; remove it", path)
	}
	removeDrafts(path)
	var err error
	for range maxDrafts {
		draft := fmt.Sprintf("%s%0*x", draftStem(path), draftDigits, rand.IntN(1<<(4*draftDigits))) //nolint:gosec // it has to be free, not secret
		var listener *net.UnixListener
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: draft, Net: "unix"})
		if errors.Is(err, unix.EADDRINUSE) || (noRoom(err) && removeDead(path)) {
			continue
		}
		if err != nil {
			break
		}
		listener.SetUnlinkOnClose(false)
		var bound inode
		bound, err = settle(draft, path)
		if err == nil {
			return listener, bound, nil
		}
		_ = listener.Close()
		if !errors.Is(err, fs.ErrNotExist) { // else another process took the draft for abandoned
			_ = os.Remove(draft)
			break
		}
	}
	return nil, inode{}, fmt.Errorf("listening at %s: %w", path, err)
}

// noRoom reports whether a file system has no inode or block left.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// removeDead removes the socket at the path if no process listens there, and reports whether it did: on a full disk the inode of
// a killed process is the only one that the next process can have.
func removeDead(path string) bool {
	_, alive := holderOf(path)
	return !alive && os.Remove(path) == nil
}

// settle makes a bound draft the socket at the path.
func settle(draft, path string) (inode, error) {
	if err := os.Chmod(draft, 0o600); err != nil {
		return inode{}, err
	}
	bound, err := look(draft)
	if err != nil {
		return inode{}, err
	}
	return bound, os.Rename(draft, path)
}

func look(path string) (inode, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return inode{}, err
	}
	return inode{device: stat.Dev, number: stat.Ino}, nil
}

// draftStem starts the hidden names of a path's drafts.
func draftStem(path string) string {
	dir, name := filepath.Split(path)
	return dir + "." + strings.TrimSuffix(name, ".sock")
}

// removeDrafts removes drafts of processes that were killed between binding and renaming. If a process listens at a draft, it is
// at that step now.
func removeDrafts(path string) {
	stem := draftStem(path)
	found, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return // binding will report why
	}
	for _, entry := range found {
		draft := filepath.Join(filepath.Dir(path), entry.Name())
		if digits, ok := strings.CutPrefix(draft, stem); !ok || len(digits) != draftDigits || entry.Type() != fs.ModeSocket {
			continue
		}
		if _, alive := holderOf(draft); !alive {
			_ = os.Remove(draft)
		}
	}
}
