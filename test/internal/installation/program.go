package installation

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

// Program is a running operator.
type Program struct {
	// Address of its metrics.
	Address string
	// Log is what it has said; read it when it has ended.
	Log bytes.Buffer

	command *exec.Cmd
	// ended is closed when it has ended, with err.
	ended chan struct{}
	err   error
}

// Launch starts an operator on a server, with more arguments than those it needs. It dies with the context.
func (s *Server) Launch(ctx context.Context, program string, arguments ...string) (*Program, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Program{Address: listener.Addr().String(), ended: make(chan struct{})}
	if err := listener.Close(); err != nil {
		return nil, err
	}
	p.command = exec.CommandContext(ctx, program, append([]string{"--namespace", Namespace, "--node-plugin-image", nodePluginImage,
		"--metrics-bind-address", p.Address, "--metrics-secure=false", "--health-probe-bind-address", "0", "--kubeconfig", s.Kubeconfig}, arguments...)...)
	p.command.Env = append(os.Environ(), "POD_NAMESPACE="+operatorNamespace)
	p.command.Stderr = &p.Log
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = p.command.Wait()
	}()
	return p, nil
}

// Running reports whether the operator still runs.
func (p *Program) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Stop ends the operator as the kubelet does, and fails if it does not end well.
func (p *Program) Stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if <-p.ended; p.err != nil {
		return fmt.Errorf("the operator ended: %w: %s", p.err, p.Log.String())
	}
	return nil
}

// Kill ends the operator at once.
func (p *Program) Kill() error {
	err := p.command.Process.Kill()
	<-p.ended
	return err
}

// Ended waits until the operator has ended without a signal, and returns its exit code.
func (p *Program) Ended(ctx context.Context) (code int, err error) {
	select {
	case <-p.ended:
		return p.command.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// PeakMemory is the most memory that an operator that has ended had, resident, in bytes.
func (p *Program) PeakMemory() float64 {
	usage, is := p.command.ProcessState.SysUsage().(*syscall.Rusage)
	if !is {
		return 0
	}
	return float64(usage.Maxrss) * 1024 // getrusage(2): kilobytes
}
