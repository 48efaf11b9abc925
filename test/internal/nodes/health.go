package nodes

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// probeTimeout is more than a DaemonSet's probes get.
const probeTimeout = 10 * time.Second

// Register does the kubelet's part of the registration: until then a plugin is not ready.
func (p *Plugin) Register(t testing.TB) {
	t.Helper()
	p.RegisterAs(t, p.Driver)
}

// RegisterAs is Register for one of the plugin's names.
func (p *Plugin) RegisterAs(t testing.TB, name string) {
	t.Helper()
	p.registration(t, name, func(ctx context.Context, kubelet registerapi.RegistrationClient, _ *registerapi.PluginInfo) {
		if _, err := kubelet.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{PluginRegistered: true}); err != nil {
			t.Fatal(err)
		}
	})
}

// endpoint is the CSI socket that the plugin registers for one of its names, as a path in the node.
func (p *Plugin) endpoint(t testing.TB, name string) (path string) {
	t.Helper()
	p.registration(t, name, func(_ context.Context, _ registerapi.RegistrationClient, info *registerapi.PluginInfo) {
		path = info.GetEndpoint()
	})
	return path
}

// registration asks the plugin's registration socket for one of its names, and calls next with the answer.
func (p *Plugin) registration(t testing.TB, name string, next func(context.Context, registerapi.RegistrationClient, *registerapi.PluginInfo)) {
	t.Helper()
	socket := filepath.Join(p.Target.Root(), KubeletRoot, contract.RegistryDir, name+"-reg.sock")
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	kubelet := registerapi.NewRegistrationClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	info, err := kubelet.GetInfo(ctx, &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetName() != name {
		t.Fatalf("the plugin registers as %v (%v)", info, err)
	}
	next(ctx, kubelet, info)
}

// Alive fails the test unless the plugin's liveness probe succeeds.
func (p *Plugin) Alive(t testing.TB) {
	t.Helper()
	if code, body, err := p.get(t, contract.LivenessPath); code != http.StatusOK {
		t.Errorf("liveness is %d %q (%v)", code, body, err)
	}
}

// answerAge is how old a plugin's answer to a readiness probe may be.
const answerAge = 200 * time.Millisecond

// Ready returns what the plugin's readiness probe says is missing now; nil is nothing.
func (p *Plugin) Ready(t testing.TB) error {
	t.Helper()
	time.Sleep(answerAge)
	code, body, err := p.get(t, contract.ReadinessPath)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("%d %s", code, strings.TrimSpace(body))
	}
	return nil
}

// Metrics is what a scrape of the plugin returns.
func (p *Plugin) Metrics(t testing.TB) string {
	t.Helper()
	code, body, err := p.get(t, contract.MetricsPath)
	if err != nil || code != http.StatusOK {
		t.Fatalf("a scrape gets %d %q (%v)", code, body, err)
	}
	return body
}

// Scraper returns what Prometheus does: it asks the plugin as it runs now for its metrics.
func (p *Plugin) Scraper() func(context.Context) ([]byte, error) {
	address := p.httpAddress
	return func(ctx context.Context) ([]byte, error) {
		code, body, err := p.Target.ask(ctx, address, contract.MetricsPath)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("a scrape gets %d %q", code, body)
		}
		return []byte(body), err
	}
}

// Metric is the value of a metric that the plugin serves, by its name and its labels.
func (p *Plugin) Metric(t testing.TB, name string) float64 {
	t.Helper()
	for line := range strings.Lines(p.Metrics(t)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("the plugin serves no metric %s", name)
	return 0
}

// Live is what the plugin's live view answers to a path.
func (p *Plugin) Live(t testing.TB, path string) string {
	t.Helper()
	code, body, err := p.Target.ask(t.Context(), p.liveAddress, path)
	if err != nil || code != http.StatusOK {
		t.Fatalf("the live view answers %s with %d %q (%v)", path, code, body, err)
	}
	return body
}

// get asks the plugin's HTTP server for health and metrics.
func (p *Plugin) get(t testing.TB, path string) (code int, body string, err error) {
	t.Helper()
	return p.Target.ask(t.Context(), p.httpAddress, path)
}

// ask asks a server, from within the node's network.
func (t *Target) ask(ctx context.Context, address, path string) (code int, body string, err error) {
	client := http.Client{Timeout: probeTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = t.inNetwork(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), err
}

// freeAddress finds a free port in the node's network.
func (t *Target) freeAddress() (address string, err error) {
	err = t.inNetwork(func() error {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		address = listener.Addr().String()
		return listener.Close()
	})
	return address, err
}

// inNetwork calls f on a thread in the node's network namespace. The thread ends with the call.
func (t *Target) inNetwork(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends a thread that is not as the others
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", t.Node.PID()))
		if err != nil {
			done <- err
			return
		}
		defer namespace.Close()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering the network of node %s: %w", t.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}
