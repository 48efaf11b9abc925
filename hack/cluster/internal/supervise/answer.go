package supervise

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// awaitAnswer returns once the address answers: a unix socket accepts, a URL returns 200. It waits for as long as that
// takes; the caller that waits for the program has the deadline. It pauses for as long as an answer took: several programs ask,
// and on a slow machine that alone could keep the one they ask from getting ready.
func awaitAnswer(address string) {
	for {
		asked := time.Now()
		if answers(address) {
			return
		}
		time.Sleep(max(50*time.Millisecond, time.Since(asked)))
	}
}

func answers(address string) bool {
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	response, err := prober.Get(address)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body) // read to its end, so that the connection is used again
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// prober does not check certificates: it only finds out when to start a program, which then checks for itself.
var prober = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{IdleConnTimeout: 5 * time.Second, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}
