package registration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pace says how a driver's sockets are watched.
type pace struct {
	look    time.Duration // between two looks
	first   time.Duration // before a path is taken back that was taken back a moment ago; doubles each time
	longest time.Duration // that this becomes
	calm    time.Duration // after which a path is taken back at once again
	ask     time.Duration // for each question to who took a path
}

// defaultPace sees a loss before the kubelet's next try of a volume, and lets two processes that fight for a path do so
// about once a minute: the kubelet registers a driver anew each time.
func defaultPace() pace {
	return pace{look: time.Second, first: 2 * time.Second, longest: time.Minute, calm: 5 * time.Minute, ask: time.Second}
}

// keeper sees to it that the paths of one driver's sockets lead to this process. Any process with rights in the kubelet's
// directories can remove or replace them: a legacy driver's registrar removes the path of its registration socket when
// it is stopped, whoever's socket lies there by then.
type keeper struct {
	driver       string
	csi          *Socket // nil if it is not kept here
	registration *Socket
	pace         pace

	lost   bool          // at the last look
	times  int           // that the paths were taken back in a row
	wait   time.Duration // before they are taken back the next time
	due    time.Time     // when that is, while they are lost
	placed time.Time     // when they were taken back last
}

// lostSocket is the first of the driver's sockets whose path leads elsewhere, with what it is; nil for none.
func (k *keeper) lostSocket() (*Socket, string) {
	if k.csi != nil && !k.csi.Held() {
		return k.csi, "CSI socket"
	}
	if !k.registration.Held() {
		return k.registration, "registration socket"
	}
	return nil, ""
}

// look looks at the paths. It returns a sentence about a loss when it is first seen, and whether it is time to take back
// what is lost.
func (k *keeper) look(ctx context.Context, now time.Time) (problem string, due bool) {
	socket, what := k.lostSocket()
	if socket == nil && k.lost {
		// It came back by itself, as with a directory that was moved away and back. The kubelet may have missed the driver
		// meanwhile, so that is registered anew all the same.
		return "", !now.Before(k.due)
	}
	if socket == nil {
		if now.Sub(k.placed) >= k.pace.calm {
			k.times, k.wait = 0, 0
		}
		return "", false
	}
	if !k.lost {
		k.lost = true
		k.due = now.Add(k.wait)
		problem = k.describe(ctx, socket, what)
	}
	return problem, !now.Before(k.due)
}

// takeBack places the CSI socket if it is lost, and the registration socket in any case: the kubelet registers the
// driver anew when that appears, and so learns of both.
func (k *keeper) takeBack(now time.Time) error {
	if err := k.place(); err != nil {
		k.due = now.Add(k.pace.longest)
		return err
	}
	k.lost, k.placed = false, now
	k.times++
	k.wait = min(max(2*k.wait, k.pace.first), k.pace.longest)
	return nil
}

func (k *keeper) place() error {
	if k.csi != nil && !k.csi.Held() {
		// The directory is the driver's own; that of the registration socket is the kubelet's to make.
		if err := os.MkdirAll(filepath.Dir(k.csi.path), 0o750); err != nil {
			return err
		}
		if err := k.csi.place(); err != nil {
			return err
		}
	}
	return k.registration.place()
}

// removedDir returns the directory of a socket that was removed from the node while this process's mount still shows it; ""
// for none. Nothing can be made in such a directory, and one that is made at its path on the node is not seen here.
func (k *keeper) removedDir() string {
	for _, socket := range []*Socket{k.csi, k.registration} {
		if socket == nil {
			continue
		}
		dir := filepath.Dir(socket.path)
		var stat unix.Stat_t
		if err := unix.Stat(dir, &stat); err == nil && stat.Nlink == 0 {
			return dir
		}
	}
	return ""
}

// describe says what became of a socket, who has its path now, and what comes next.
func (k *keeper) describe(ctx context.Context, socket *Socket, what string) string {
	var said strings.Builder
	fmt.Fprintf(&said, "its %s %s was ", what, socket.path)
	_, err := look(socket.path)
	holder, alive := holderOf(socket.path)
	switch {
	case err != nil:
		said.WriteString("removed by another process")
	case alive:
		said.WriteString("taken by " + holder)
		if answer := answersAs(ctx, socket.path, k.pace.ask); answer != "" {
			said.WriteString(", " + answer)
		}
	default:
		said.WriteString("replaced by another one at which nobody listens")
	}
	if k.times > 0 {
		fmt.Fprintf(&said, ", after this process took it back %d times; stop the other one. It is taken back in %s", k.times, k.wait)
	}
	return said.String()
}
