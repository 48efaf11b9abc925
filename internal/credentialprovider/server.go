package credentialprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
)

// answerTimeout is longer than a provider's own, so that the provider's answer reaches the caller.
const answerTimeout = programTimeout + 10*time.Second

// NewServer serves the providers' answers.
func NewServer(p *Providers, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.Path, func(w http.ResponseWriter, r *http.Request) {
		var q api.Question
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, api.MaxQuestionBytes)).Decode(&q); err != nil {
			http.Error(w, "not a question", http.StatusBadRequest) // the decoder's error may quote a token
			return
		}
		a := p.Answer(r.Context(), q)
		log.Debug("answered", "image", q.Image, "credentials", len(a.Auths), "problems", len(a.Problems))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // a caller that has gone needs no answer
	})
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Listen makes the socket, for its owner and root only.
func Listen(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the socket of an earlier process: %w", err)
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &guarded{listener}, nil
}

// guarded accepts only root and the process's own user, whatever the socket's mode is.
type guarded struct{ net.Listener }

// Accept waits for a caller that may ask.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(conn); err == nil && mayAsk(uid) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// mayAsk reports whether a user may ask: the node plugin is root, and this process's own user could read its memory anyway.
func mayAsk(uid uint32) bool { return uid == 0 || int(uid) == os.Getuid() }

// peer returns the user at the other end (unix(7), SO_PEERCRED).
func peer(conn net.Conn) (uid uint32, err error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return 0, err
	}
	return credentials.Uid, nil
}
