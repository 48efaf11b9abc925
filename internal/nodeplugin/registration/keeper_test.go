package registration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const driverName = "container-image.csi.k8s.io"

// shortDir is a directory for sockets, whose paths the kernel bounds; those of t.TempDir have the test's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "reg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// soon is more than what the registrar of these tests needs to see something.
const soon = 10 * time.Second

// hastily watches at a test's pace.
func hastily(r *Registrar) *Registrar {
	r.pace = pace{look: 10 * time.Millisecond, first: 20 * time.Millisecond, longest: 200 * time.Millisecond, calm: time.Hour, ask: time.Second,
		offer: 50 * time.Millisecond}
	return r
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !check(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within " + soon.String() + ": " + what)
		}
	}
}

// kubelet registers whatever it finds at a path, once for each socket that appears there, as the kubelet's watcher does. The first
// sockets are refused, each with its reason.
func kubelet(t *testing.T, path string, refusals ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	running.Go(func() {
		var seen inode
		for ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			found, err := look(path)
			if err != nil || found == seen {
				continue
			}
			client := kubeletSide(t, path)
			call, done := context.WithTimeout(ctx, time.Second)
			if _, err := client.GetInfo(call, &registerapi.InfoRequest{}); err == nil {
				verdict := &registerapi.RegistrationStatus{PluginRegistered: len(refusals) == 0}
				if len(refusals) > 0 {
					verdict.Error = refusals[0]
				}
				if _, err := client.NotifyRegistrationStatus(call, verdict); err == nil {
					seen, refusals = found, refusals[min(1, len(refusals)):]
				}
			}
			done()
		}
	})
}

// legacyRegistrar serves a registration socket as node-driver-registrar does, and has its end: it removes whatever lies at
// the path when it is stopped.
type legacyRegistrar struct {
	path   string
	server *grpc.Server
}

func startLegacyRegistrar(t *testing.T, path string) *legacyRegistrar {
	t.Helper()
	l := &legacyRegistrar{path: path, server: grpc.NewServer()}
	registerapi.RegisterRegistrationServer(l.server, &service{
		driver: Driver{Name: driverName, Endpoint: "/plugins/legacy/csi.sock"}, registrar: New(nil, slog.New(slog.DiscardHandler)),
	})
	// It listens before it is visible at the path, so that the test knows how it is described.
	listener := listenAt(t, path+"x")
	go func() { _ = l.server.Serve(listener) }()
	t.Cleanup(l.server.Stop)
	if err := os.Rename(path+"x", path); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *legacyRegistrar) terminate(t *testing.T) {
	t.Helper()
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	l.server.Stop()
}

func registered(t *testing.T, dir string, log *slog.Logger) (*Registrar, string) {
	t.Helper()
	path := filepath.Join(dir, driverName+"-reg.sock")
	r := hastily(New([]Driver{{Name: driverName, Endpoint: filepath.Join(dir, "csi.sock")}}, log))
	if err := r.Start(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r, path
}

func TestALegacyRegistrarThatIsStoppedDoesNotTakeTheDriverFromTheKubelet(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, driverName+"-reg.sock")
	legacy := startLegacyRegistrar(t, path)
	var out safeBuffer
	r, _ := registered(t, dir, slog.New(slog.NewTextHandler(&out, nil)))
	if said := out.String(); !strings.Contains(said, "taken over") {
		t.Errorf("the log lacks that a living process lost its socket: %s", said)
	}
	kubelet(t, path)
	eventually(t, "the driver is registered", func() bool { return r.Ready(t.Context()) == nil })
	before, err := look(path)
	if err != nil {
		t.Fatal(err)
	}
	legacy.terminate(t)
	if r.Ready(t.Context()) == nil {
		if now, err := look(path); err != nil || now == before {
			t.Errorf("ready without a socket: %v", err)
		}
	}
	eventually(t, "a new socket lies at the path and the driver is registered", func() bool {
		now, err := look(path)
		return err == nil && now != before && r.Ready(t.Context()) == nil
	})
	r.Stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestALegacyRegistrarThatStartsIsNamedAndLosesThePath(t *testing.T) {
	dir := shortDir(t)
	var out safeBuffer
	r, path := registered(t, dir, slog.New(slog.NewTextHandler(&out, nil)))
	kubelet(t, path)
	eventually(t, "the driver is registered", func() bool { return r.Ready(t.Context()) == nil })
	legacy := startLegacyRegistrar(t, path)
	held := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.keepers[0].registration.Held()
	}
	eventually(t, "the path is taken back and the driver registered", func() bool { return held() && r.Ready(t.Context()) == nil })
	if said := out.String(); !strings.Contains(said, "taken by") || !strings.Contains(said, "registers driver "+driverName+" at /plugins/legacy/csi.sock") {
		t.Errorf("the log does not name who took the path: %s", said)
	}
	legacy.server.Stop() // killed: it removes nothing
	time.Sleep(50 * time.Millisecond)
	if !held() {
		t.Error("the socket went with the other process")
	}
}

// The kubelet up to 1.35 asks a socket once where its registration failed halfway, as when the API server does not answer.
func TestADriverThatTheKubeletRefusedIsOfferedAgain(t *testing.T) {
	dir := shortDir(t)
	var out safeBuffer
	r, path := registered(t, dir, slog.New(slog.NewTextHandler(&out, nil)))
	kubelet(t, path, "no answer of the API server", "still no answer")
	eventually(t, "the kubelet that refused the driver twice registers it", func() bool { return r.Ready(t.Context()) == nil })
	if said := out.String(); !strings.Contains(said, "still no answer") {
		t.Errorf("the log lacks the second refusal: %s", said)
	}
	before, err := look(path)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * r.pace.longest)
	if now, err := look(path); err != nil || now != before {
		t.Errorf("a driver that is registered is offered again: %v", err)
	}
}

func TestOffersToAKubeletThatRefusesSlowDown(t *testing.T) {
	k := &keeper{pace: defaultPace()}
	clock := time.Unix(1000, 0)
	offers := func(seconds int) (after []int) {
		for i := range seconds {
			if k.offer(true, clock.Add(time.Duration(i)*time.Second)) {
				after = append(after, i)
			}
		}
		return after
	}
	if got, want := offers(250), []int{5, 15, 35, 75, 135, 195}; !slices.Equal(got, want) {
		t.Errorf("offers after %v seconds, want %v", got, want)
	}
	k.offer(false, clock)
	if got, want := offers(10), []int{5}; !slices.Equal(got, want) {
		t.Errorf("after a registration: offers after %v seconds, want %v", got, want)
	}
}

func TestOverlappingProcessesOfOneDriverLeaveASocketToTheOneThatServes(t *testing.T) {
	dir := shortDir(t)
	silent := slog.New(slog.DiscardHandler)
	earlier, path := registered(t, dir, silent)
	next, _ := registered(t, dir, silent)
	kubelet(t, path)
	earlier.Stop() // its SIGTERM comes after the next one is up
	eventually(t, "the next process has the path and the kubelet's registration", func() bool { return next.Ready(t.Context()) == nil })
	time.Sleep(100 * time.Millisecond)
	if err := next.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheCSISocketIsTakenBackAndTheDriverRegisteredAnew(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, string){
		"removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"taken": func(t *testing.T, path string) { stranger(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			csi := mustListen(t, filepath.Join(dir, "csi.sock"))
			r := hastily(New([]Driver{{Name: driverName, Endpoint: csi.path}}, slog.New(slog.DiscardHandler)))
			r.Keep(driverName, csi)
			if err := r.Start(dir); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.Stop)
			path := filepath.Join(dir, driverName+"-reg.sock")
			kubelet(t, path)
			eventually(t, "the driver is registered", func() bool { return r.Ready(t.Context()) == nil })
			before, err := look(path)
			if err != nil {
				t.Fatal(err)
			}
			lose(t, csi.path)
			eventually(t, "the CSI socket is back and the driver registered anew", func() bool {
				now, err := look(path)
				return err == nil && now != before && csi.Held() && r.Ready(t.Context()) == nil
			})
		})
	}
}

func TestReadinessSaysWhatBecameOfALostSocketAtOnce(t *testing.T) {
	dir := shortDir(t)
	r, path := registered(t, dir, slog.New(slog.DiscardHandler))
	r.record(driverName, state{registered: true})
	r.end() // the watch looks no more
	time.Sleep(50 * time.Millisecond)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("ready without a socket: %v", err)
	}
}

// Two processes that fight for one path take it from each other at a pace that a kubelet bears, and log it.
func TestAFightForAPathSlowsDownAndIsTold(t *testing.T) {
	path := filepath.Join(shortDir(t), driverName+"-reg.sock")
	k := &keeper{driver: driverName, registration: mustListen(t, path), pace: defaultPace()}
	k.pace.ask = time.Millisecond // no process answers
	clock := time.Unix(1000, 0)
	var taken []time.Time
	var said string
	for range 600 { // ten minutes
		stranger(t, path)
		clock = clock.Add(time.Second)
		problem, due := k.look(t.Context(), clock)
		if problem != "" {
			said = problem
		}
		if due {
			taken = append(taken, clock)
			if err := k.takeBack(clock); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(taken) < 10 || len(taken) > 16 {
		t.Errorf("the path was taken back %d times in ten minutes", len(taken))
	}
	if want := fmt.Sprintf("took it back %d times", len(taken)-1); !strings.Contains(said, "taken by") || !strings.Contains(said, "stop the other one") ||
		(!strings.Contains(said, want) && !strings.Contains(said, fmt.Sprintf("took it back %d times", len(taken)))) {
		t.Errorf("%q does not say how often, %s", said, want)
	}
	// After a while without a loss the next one is repaired at once.
	if err := k.takeBack(clock); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(k.pace.calm)
	k.look(t.Context(), clock)
	stranger(t, path)
	if _, due := k.look(t.Context(), clock.Add(time.Second)); !due {
		t.Error("the first loss after a long time is not repaired at once")
	}
}

// A path that cannot be taken back is tried again, and reported until then.
func TestAPathThatCannotBeTakenBackIsTold(t *testing.T) {
	dir := shortDir(t)
	r, path := registered(t, dir, slog.New(slog.DiscardHandler))
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness says what stands in the way", func() bool {
		err := r.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "is not a socket; remove it")
	})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	kubelet(t, path)
	eventually(t, "the path is taken back", func() bool { return r.Ready(t.Context()) == nil })
}

// serving is a registrar whose driver has a CSI socket, with both directories beneath root, and that is registered.
func serving(t *testing.T, root string, removed func(error)) (r *Registrar, socket *Socket) {
	t.Helper()
	registry, csi := filepath.Join(root, "registry"), filepath.Join(root, "csi")
	if err := errors.Join(os.MkdirAll(registry, 0o700), os.MkdirAll(csi, 0o700)); err != nil {
		t.Fatal(err)
	}
	socket, err := Listen(filepath.Join(csi, "csi.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	r = hastily(New([]Driver{{Name: driverName, Endpoint: socket.path}}, slog.New(slog.DiscardHandler)))
	r.Keep(driverName, socket)
	r.OnRemoved(removed)
	if err := r.Start(registry); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	kubelet(t, filepath.Join(registry, driverName+"-reg.sock"))
	eventually(t, "the driver is registered", func() bool { return r.Ready(t.Context()) == nil })
	return r, socket
}

// The kubelet's directory that was moved away and came back has the socket in it, and that is this process's.
func TestASocketThatComesBackByItselfIsRegisteredAnew(t *testing.T) {
	root := shortDir(t)
	r, _ := serving(t, root, func(err error) { t.Error(err) })
	dir := filepath.Join(root, "registry")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness reports that it cannot be taken back", func() bool {
		err := r.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "could not be taken back")
	})
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the driver is registered again", func() bool { return r.Ready(t.Context()) == nil })
}

// Those who remove a legacy driver may remove its directory, whose name is the driver's.
func TestTheDriversDirectoryIsMadeAgain(t *testing.T) {
	root := shortDir(t)
	r, socket := serving(t, root, func(err error) { t.Error(err) })
	if err := os.RemoveAll(filepath.Join(root, "csi")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the socket is taken back", func() bool { return socket.Held() && r.Ready(t.Context()) == nil })
}

// A container keeps the directory that was mounted into it, also one that is removed from the node.
func TestADirectoryThatWasRemovedUnderItsMountIsTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	for _, which := range []string{"csi", "registry"} {
		root := shortDir(t)
		node, seen := filepath.Join(root, "node"), filepath.Join(root, which)
		if err := errors.Join(os.Mkdir(node, 0o700), os.Mkdir(seen, 0o700), unix.Mount(node, seen, "", unix.MS_BIND, "")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(seen, unix.MNT_DETACH) })
		told := make(chan error, 100)
		r, _ := serving(t, root, func(err error) { told <- err })
		if err := os.RemoveAll(node); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-told:
			if !strings.Contains(err.Error(), seen) {
				t.Error(err)
			}
		case <-time.After(soon):
			t.Errorf("%s: it is not reported", which)
		}
		if r.Ready(t.Context()) == nil {
			t.Errorf("%s: ready", which)
		}
	}
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}
