package registration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	// dialTimeout bounds connecting to an unknown process.
	dialTimeout = time.Second

	// maxAnswer bounds each part of an unknown process's answer that is repeated.
	maxAnswer = 128
)

// holderOf describes the process that listens at a path, in words that an administrator can search for, and reports whether
// there is one. The kernel names the process (SO_PEERCRED, unix(7)), but hides the number of a process in another container: a
// pod without the node's PID namespace sees 0.
func holderOf(path string) (holder string, alive bool) {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		// A full queue, or no right to connect, are no proof of absence.
		absent := errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTSOCK)
		return "another process", !absent
	}
	defer conn.Close()
	pid := peer(conn)
	if pid <= 0 {
		return "a process of another container", true
	}
	if pid == os.Getpid() {
		return "this process", true
	}
	if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		return fmt.Sprintf("process %d (%s)", pid, clean(strings.TrimSpace(string(command)))), true
	}
	return fmt.Sprintf("process %d", pid), true
}

// peer returns the PID of the process at the other end, 0 for a process that this PID namespace does not show.
func peer(conn net.Conn) (pid int) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if credentials, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(credentials.Pid)
		}
	})
	return pid
}

// answersAs asks the process that listens at a path what it is, by the two protocols of such sockets; "" if it does not answer.
func answersAs(ctx context.Context, path string, within time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<10)))
	if err != nil {
		return ""
	}
	defer conn.Close()
	if info, err := registerapi.NewRegistrationClient(conn).GetInfo(ctx, &registerapi.InfoRequest{}); err == nil {
		return fmt.Sprintf("which registers driver %s at %s", clean(info.GetName()), clean(info.GetEndpoint()))
	}
	if info, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}); err == nil {
		return fmt.Sprintf("which serves driver %s, version %s", clean(info.GetName()), clean(info.GetVendorVersion()))
	}
	return ""
}

// clean bounds the text of an unknown process, and keeps it on one line.
func clean(s string) string {
	if len(s) > maxAnswer {
		s = s[:maxAnswer] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
