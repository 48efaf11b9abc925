package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/defect"
)

// csiVersion is the CSI version that the kubelet is told; it accepts any 1.x.
const csiVersion = "1.0.0"

// Driver is a name to register and the CSI socket that serves it.
type Driver struct {
	Name     string
	Endpoint string // the socket's path
}

// Registrar serves one registration socket for each driver and remembers what the kubelet answered.
type Registrar struct {
	drivers []Driver
	log     *slog.Logger
	servers []*grpc.Server
	serving sync.WaitGroup

	mu     sync.Mutex
	states map[string]state
}

// state is the kubelet's last word on one driver.
type state struct {
	registered bool
	problem    string
}

// New returns a Registrar that serves nothing yet.
func New(drivers []Driver, log *slog.Logger) *Registrar {
	r := &Registrar{drivers: drivers, log: log, states: map[string]state{}}
	for _, d := range drivers {
		r.states[d.Name] = state{}
	}
	return r
}

// Start opens the sockets in dir, <kubeletRoot>/plugins_registry. The CSI sockets must be served already: the kubelet
// calls NodeGetInfo as soon as it finds the registration.
func (r *Registrar) Start(dir string) error {
	for _, d := range r.drivers {
		if err := r.serve(dir, d); err != nil {
			r.Stop()
			return err
		}
	}
	return nil
}

func (r *Registrar) serve(dir string, driver Driver) error {
	path := filepath.Join(dir, driver.Name+"-reg.sock")
	listener, err := Listen(path)
	if err != nil {
		return fmt.Errorf("registration socket of driver %s: %w", driver.Name, err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(r.recovered))
	registerapi.RegisterRegistrationServer(server, &service{driver: driver, registrar: r})
	r.servers = append(r.servers, server)
	r.serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			r.record(driver.Name, state{problem: "its registration socket failed: " + err.Error()})
		}
	})
	return nil
}

// recovered turns a panic into an error of the kubelet's call that met it.
func (r *Registrar) recovered(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	err = defect.Guard(r.log, info.FullMethod, func() (failed error) {
		response, failed = handler(ctx, request)
		return failed
	})
	return response, err
}

// Stop removes the sockets, which tells the kubelet that the drivers are gone.
func (r *Registrar) Stop() {
	for _, s := range r.servers {
		s.Stop()
	}
	r.serving.Wait()
}

// Ready returns nil when the kubelet has registered every driver, and otherwise says which it has not, in the
// kubelet's words where it gave any.
func (r *Registrar) Ready(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(r.states)) {
		switch s := r.states[name]; {
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

// GetInfo tells the kubelet which driver is behind the socket.
func (s *service) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type:              registerapi.CSIPlugin,
		Name:              s.driver.Name,
		Endpoint:          s.driver.Endpoint,
		SupportedVersions: []string{csiVersion},
	}, nil
}

// NotifyRegistrationStatus is the kubelet's verdict. After a refusal the kubelet tries again by itself.
func (s *service) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	verdict := state{registered: status.GetPluginRegistered(), problem: status.GetError()}
	if !verdict.registered && verdict.problem == "" {
		verdict.problem = "no reason given"
	}
	s.registrar.record(s.driver.Name, verdict)
	return &registerapi.RegistrationStatusResponse{}, nil
}
