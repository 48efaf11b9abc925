package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

// csiVersion is the CSI version that is registered; the kubelet accepts any 1.x.
const csiVersion = "1.0.0"

// Driver is a name to register and the CSI socket that serves it.
type Driver struct {
	Name     string
	Endpoint string // the socket's path
}

// Registrar serves one registration socket for each driver, records the kubelet's answers, and watches the paths of all
// sockets. If one is gone, or leads to another process, it takes the path back and registers the driver again.
type Registrar struct {
	drivers []Driver
	log     *slog.Logger
	pace    pace
	servers []*grpc.Server
	serving sync.WaitGroup
	end     context.CancelFunc // of the watch; nil before Start
	removed func(error)        // see OnRemoved

	mu      sync.Mutex
	states  map[string]state
	csi     map[string]*Socket // by driver
	keepers []*keeper
}

// state is the latest news on one driver: the kubelet's answer, or the loss of a socket.
type state struct {
	registered bool
	problem    string
	lost       string // what happened to a socket that is not taken back yet
}

// refused reports whether the kubelet's latest answer is a refusal.
func (s state) refused() bool { return s.problem != "" && s.lost == "" }

// New returns a Registrar that serves nothing yet.
func New(drivers []Driver, log *slog.Logger) *Registrar {
	r := &Registrar{drivers: drivers, log: log, pace: defaultPace(), states: map[string]state{}, csi: map[string]*Socket{}, removed: func(error) {}}
	for _, d := range drivers {
		r.states[d.Name] = state{}
	}
	return r
}

// Keep has the CSI socket of a driver watched along with its registration socket. It is called before Start.
func (r *Registrar) Keep(driver string, socket *Socket) { r.csi[driver] = socket }

// OnRemoved sets f, which is called when the directory of a socket was removed from the node under this process's mount. Then no
// socket can be taken back before the container restarts. It is called before Start.
func (r *Registrar) OnRemoved(f func(error)) { r.removed = f }

// Start opens the sockets in dir, <kubeletRoot>/plugins_registry, and watches them until Stop. The CSI sockets must be
// served already: the kubelet calls NodeGetInfo as soon as it finds the registration.
func (r *Registrar) Start(dir string) error {
	for _, d := range r.drivers {
		if err := r.serve(dir, d); err != nil {
			r.Stop()
			return err
		}
	}
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	r.serving.Go(func() { r.watch(ctx) })
	return nil
}

func (r *Registrar) serve(dir string, driver Driver) error {
	socket, err := Listen(registrationSocket(dir, driver.Name))
	if err != nil {
		return fmt.Errorf("registration socket of driver %s: %w", driver.Name, err)
	}
	socket.LogTaken(r.log)
	server := grpc.NewServer(grpc.UnaryInterceptor(r.recovered))
	registerapi.RegisterRegistrationServer(server, &service{driver: driver, registrar: r})
	r.servers = append(r.servers, server)
	r.mu.Lock()
	r.keepers = append(r.keepers, &keeper{driver: driver.Name, csi: r.csi[driver.Name], registration: socket, pace: r.pace})
	r.mu.Unlock()
	r.serving.Go(func() {
		if err := server.Serve(socket); err != nil {
			r.record(driver.Name, state{problem: "its registration socket failed: " + err.Error()})
		}
	})
	return nil
}

// watch looks after the sockets until ctx ends.
func (r *Registrar) watch(ctx context.Context) {
	ticker := time.NewTicker(r.pace.look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, k := range r.keepers {
				r.keep(ctx, k, now)
				r.offer(k, now)
			}
		}
	}
}

// keep takes back what one driver has lost. The kubelet's last answer is dropped before that, because its next one may come as
// soon as the socket is placed.
func (r *Registrar) keep(ctx context.Context, k *keeper, now time.Time) {
	problem, due := k.look(ctx, now)
	if problem != "" {
		r.record(k.driver, state{lost: problem})
	}
	if !due {
		return
	}
	r.record(k.driver, state{})
	if err := k.takeBack(now); err != nil {
		r.record(k.driver, state{lost: "a socket is lost and could not be taken back: " + err.Error()})
		if dir := k.removedDir(); dir != "" {
			r.removed(fmt.Errorf("the directory %s was removed from the node, and this container still has the removed one; "+
				"the container has to restart", dir))
		}
		return
	}
	r.log.Info("listening again; waiting for the kubelet to register the driver again", "driver", k.driver)
}

// offer has a kubelet that refused a driver look at it again: it does so when the registration socket is replaced. A kubelet up to 1.35
// whose registration of a driver failed halfway, as when the API server does not answer, does not try again by itself
// (pkg/kubelet/pluginmanager/operationexecutor). The answer is kept until the next one comes, which may take it two minutes.
func (r *Registrar) offer(k *keeper, now time.Time) {
	r.mu.Lock()
	refused := r.states[k.driver].refused()
	r.mu.Unlock()
	if !k.offer(refused, now) {
		return
	}
	r.log.Info("offering the driver to the kubelet again, which has refused it", "driver", k.driver)
	if err := k.registration.place(); err != nil {
		r.log.Warn("the registration socket could not be replaced; it is tried again", "driver", k.driver, "error", err)
	}
}

// recovered turns a panic into an error of the kubelet's call in which it happened.
func (r *Registrar) recovered(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	err = recoverpanic.Guard(r.log, info.FullMethod, func() (failed error) {
		response, failed = handler(ctx, request)
		return failed
	})
	return response, err
}

// Stop removes the registration sockets that are still this process's, by which the kubelet learns that the drivers are gone.
func (r *Registrar) Stop() {
	if r.end != nil {
		r.end()
	}
	for _, s := range r.servers {
		s.Stop()
	}
	r.serving.Wait()
}

// Ready returns nil when the kubelet has registered every driver and reaches this process by all of its sockets. Otherwise the
// error names the driver that is not registered, with the kubelet's reason if it gave one, or the socket that is lost.
func (r *Registrar) Ready(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	unseen := map[string]string{} // lost since the last look
	for _, k := range r.keepers {
		if socket, what := k.lostSocket(); socket != nil {
			unseen[k.driver] = fmt.Sprintf("its %s %s no longer leads to this process", what, socket.path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.states)) {
		switch s := r.states[name]; {
		case s.lost != "":
			missing = append(missing, fmt.Sprintf("driver %s: %s", name, s.lost))
		case unseen[name] != "":
			missing = append(missing, fmt.Sprintf("driver %s: %s", name, unseen[name]))
		case s.registered:
		case s.problem != "":
			missing = append(missing, fmt.Sprintf("the kubelet refused driver %s: %s", name, s.problem))
		default:
			missing = append(missing, fmt.Sprintf("the kubelet has not registered driver %s yet", name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

func (r *Registrar) record(driver string, s state) {
	r.mu.Lock()
	changed := r.states[driver] != s
	r.states[driver] = s
	r.mu.Unlock()
	switch {
	case !changed:
	case s.registered:
		r.log.Info("the kubelet registered the driver", "driver", driver)
	case s.lost != "":
		r.log.Warn("a socket is lost, so the driver is no longer registered", "driver", driver, "error", s.lost)
	case s == state{}:
		// The kubelet has not answered yet.
	default:
		r.log.Error("the kubelet did not register the driver", "driver", driver, "error", s.problem)
	}
}

// service is the kubelet's side of one socket.
type service struct {
	registerapi.UnimplementedRegistrationServer
	driver    Driver
	registrar *Registrar
}

// GetInfo names the driver behind the socket.
func (s *service) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type:              registerapi.CSIPlugin,
		Name:              s.driver.Name,
		Endpoint:          s.driver.Endpoint,
		SupportedVersions: []string{csiVersion},
	}, nil
}

// NotifyRegistrationStatus receives the kubelet's answer.
func (s *service) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	verdict := state{registered: status.GetPluginRegistered(), problem: status.GetError()}
	if !verdict.registered && verdict.problem == "" {
		verdict.problem = "no reason given"
	}
	s.registrar.record(s.driver.Name, verdict)
	return &registerapi.RegistrationStatusResponse{}, nil
}
