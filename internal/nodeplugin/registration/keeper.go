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

// pace is how a driver's sockets are watched.
type pace struct {
	look    time.Duration // between two looks
	first   time.Duration // the wait before a path is taken back that was taken back a moment ago; doubles each time
	longest time.Duration // the bound of that wait
	calm    time.Duration // without a loss, after which a path is taken back at once again
	ask     time.Duration // for each question to the process that took a path
	offer   time.Duration // the wait before a driver that the kubelet refused is offered again; doubles each time up to longest
}

// defaultPace notices a loss before the kubelet's next try of a volume. Two processes that fight for a path do so about once a
// minute, because the kubelet registers a driver again each time. A kubelet that tries again automatically does so before the first offer.
func defaultPace() pace {
	return pace{look: time.Second, first: 2 * time.Second, longest: time.Minute, calm: 5 * time.Minute, ask: time.Second, offer: 5 * time.Second}
}

// keeper makes sure that the paths of one driver's sockets lead to this process. Any process with rights in the kubelet's
// directories can remove or replace them. For example, the legacy driver's registrar removes the path of its registration socket
// when it stops, even if the socket there is another process's by then.
type keeper struct {
	driver       string
	csi          *Socket // nil if it is not watched
	registration *Socket
	pace         pace

	lost   bool          // at the last look
	times  int           // that the paths were taken back in a row
	wait   time.Duration // before they are taken back the next time
	due    time.Time     // when that is, while they are lost
	placed time.Time     // when they were taken back last

	offerWait time.Duration // before the driver is offered the next time, while the kubelet refuses it
	offerDue  time.Time     // when that is; zero while the kubelet does not refuse it
}

// lostSocket returns the first of the driver's sockets whose path leads elsewhere, and what it is; nil for none.
func (k *keeper) lostSocket() (*Socket, string) {
	if k.csi != nil && !k.csi.Held() {
		return k.csi, "CSI socket"
	}
	if !k.registration.Held() {
		return k.registration, "registration socket"
	}
	return nil, ""
}

// look checks the paths. It returns a sentence about a loss when it is first seen, and reports whether it is time to take back
// what is lost.
func (k *keeper) look(ctx context.Context, now time.Time) (problem string, due bool) {
	socket, what := k.lostSocket()
	if socket == nil && k.lost {
		// The path came back, as with a directory that was moved away and back. The kubelet may have missed the driver in
		// between, so the driver is registered again all the same.
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

// takeBack places the CSI socket if it is lost, and the registration socket in any case: when that appears, the kubelet
// registers the driver again, and so learns of both.
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

// offer reports whether it is time to offer the driver to the kubelet again, which has refused it or not.
func (k *keeper) offer(refused bool, now time.Time) bool {
	if !refused {
		k.offerWait, k.offerDue = 0, time.Time{}
		return false
	}
	due := !k.offerDue.IsZero() && !now.Before(k.offerDue)
	if due || k.offerDue.IsZero() {
		k.offerWait = min(max(2*k.offerWait, k.pace.offer), k.pace.longest)
		k.offerDue = now.Add(k.offerWait)
	}
	return due
}

func (k *keeper) place() error {
	if k.csi != nil && !k.csi.Held() {
		// This directory is the driver's own. The kubelet makes that of the registration socket.
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
// for none. Nothing can be made in such a directory, and a new one at its path on the node is not visible here.
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

// describe returns what happened to a socket, which process has its path now, and what comes next.
func (k *keeper) describe(ctx context.Context, socket *Socket, what string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "its %s %s was ", what, socket.path)
	_, err := look(socket.path)
	holder, alive := holderOf(socket.path)
	switch {
	case err != nil:
		text.WriteString("removed by another process")
	case alive:
		text.WriteString("taken by " + holder)
		if answer := answersAs(ctx, socket.path, k.pace.ask); answer != "" {
			text.WriteString(", " + answer)
		}
	default:
		text.WriteString("replaced by a socket at which no process listens")
	}
	if k.times > 0 {
		fmt.Fprintf(&text, ", after this process took it back %d times; stop the other one. It is taken back in %s", k.times, k.wait)
	}
	return text.String()
}
