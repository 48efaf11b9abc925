package registration

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// stranger listens at a path as programs do that do not share: it silently removes what is there.
func stranger(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	for range 100 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // the process that lost it was quick
		}
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		t.Cleanup(func() { _ = listener.Close() })
		return listener
	}
	t.Fatal("the path is never free")
	return nil
}

func listenAt(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func mustListen(t *testing.T, path string) *Socket {
	t.Helper()
	socket, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// echoes reports whether a process at the path sends back what it receives.
func echoes(t *testing.T, path string) bool {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	defer conn.Close()
	return returns(conn)
}

// returns reports whether a connection sends back what it is sent.
func returns(conn net.Conn) bool {
	if _, err := io.WriteString(conn, "x"); err != nil {
		return false
	}
	got := make([]byte, 1)
	_, err := io.ReadFull(conn, got)
	return err == nil && got[0] == 'x'
}

func echo(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
	}
}

func TestOnlyTheSocketThatWasBoundIsRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, path string)
		stays     bool
	}{
		"nothing happened":                 {func(*testing.T, string) {}, false},
		"another process took the path":    {func(t *testing.T, path string) { stranger(t, path) }, true},
		"the next process of this program": {func(t *testing.T, path string) { mustListen(t, path) }, true},
		"a dead socket took its place": {func(t *testing.T, path string) {
			_ = stranger(t, path).Close()
		}, true},
		"somebody removed it": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, false},
		"it was renamed, and a file is there": {func(t *testing.T, path string) {
			if err := errors.Join(os.Rename(path, path+"x"), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shortDir(t), "csi.sock")
			socket := mustListen(t, path)
			if !socket.Held() {
				t.Error("the path does not lead to a socket that was just bound")
			}
			test.meanwhile(t, path)
			if held := socket.Held(); held && test.stays {
				t.Error("what is another's is taken for its own")
			}
			if err := errors.Join(socket.Close(), socket.Close()); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); (err == nil) != test.stays {
				t.Errorf("the path: %v, stays: %v", err, test.stays)
			}
		})
	}
}

func TestASocketGoesOnAcceptingWhereItIsPlacedAgain(t *testing.T) {
	path := filepath.Join(shortDir(t), "csi.sock")
	socket := mustListen(t, path)
	go echo(socket)
	old, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if !returns(old) {
		t.Fatal("nothing answers")
	}
	stranger(t, path)
	if err := socket.place(); err != nil {
		t.Fatal(err)
	}
	if !socket.Held() || !echoes(t, path) {
		t.Error("nothing answers at the path that was taken back")
	}
	if !returns(old) {
		t.Error("an earlier connection broke")
	}
	if err := socket.Close(); err != nil {
		t.Error(err)
	}
	if err := socket.place(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed socket was placed again: %v", err)
	}
}

func TestThePathAlwaysLeadsToASocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "csi.sock")
	socket := mustListen(t, path)
	go echo(socket)
	done := make(chan error, 1)
	go func() {
		for range 50 {
			if err := socket.place(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			if _, err := os.Lstat(path); err != nil {
				t.Fatal("the path led nowhere:", err)
			}
		}
	}
}

func TestDraftsOfKilledProcessesAreRemovedAndOthersStay(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "a.example-reg.sock")
	left := filepath.Join(dir, ".a.example-reg12ab")
	_ = listenAt(t, left).Close() // killed between binding and renaming
	kept := []string{
		filepath.Join(dir, ".a.example-reg34cd"), // at that step now
		filepath.Join(dir, ".b.example-reg12ab"), // another driver's
		filepath.Join(dir, ".a.example-reg.sock"),
	}
	for i, name := range kept {
		listener := listenAt(t, name)
		if i > 0 {
			_ = listener.Close()
		}
	}
	mustListen(t, path)
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", left, err)
	}
	for _, name := range kept {
		if _, err := os.Lstat(name); err != nil {
			t.Error(err)
		}
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != len(kept)+1 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestADraftsPathIsAsLongAsTheSockets(t *testing.T) {
	for _, name := range []string{"csi.sock", "container-image.csi.k8s.io-reg.sock"} {
		if draft := draftStem("/d/"+name) + strings.Repeat("0", draftDigits); len(draft) != len("/d/"+name) || !strings.HasPrefix(draft, "/d/.") {
			t.Errorf("%s has the draft %s", name, draft)
		}
	}
	// The longest path that the kernel takes.
	dir := shortDir(t)
	name := strings.Repeat("d", maxSocketPath-len(dir)-len("/-reg.sock")) + "-reg.sock"
	mustListen(t, filepath.Join(dir, name))
}

func TestWhatIsNoSocketStays(t *testing.T) {
	dir := shortDir(t)
	file, directory := filepath.Join(dir, "file"), filepath.Join(dir, "directory")
	if err := errors.Join(os.WriteFile(file, []byte("data"), 0o600), os.Mkdir(directory, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, directory} {
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "data" {
		t.Errorf("%q, %v", data, err)
	}
}
