package supervise

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

// awaitAnswer returns once the address answers: a unix socket accepts, a URL returns 200. It waits for as long as that
// takes; whoever waits for the program has the deadline.
func awaitAnswer(address string) {
	for !answers(address) {
		time.Sleep(50 * time.Millisecond)
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
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// prober does not check certificates: it only finds out when to start a program, which then checks for itself.
var prober = &http.Client{
	Timeout:   2 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}
