package reading

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// apiServer forwards the ports of a pod by SPDY, and has no WebSockets, as some proxies before API servers do not.
func apiServer(t *testing.T, serve func(data, failures httpstream.Stream)) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/image-csi-system/pods/p/portforward" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if serve == nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: 403, Message: "no right"})
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			return
		}
		streams := make(chan httpstream.Stream, 2)
		connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if connection == nil {
			return
		}
		defer connection.Close()
		failures, data := <-streams, <-streams
		if data.Headers().Get(corev1.StreamType) != corev1.StreamTypeData || data.Headers().Get(corev1.PortHeader) != "8082" {
			t.Errorf("a stream with the headers %v", data.Headers())
		}
		serve(data, failures)
		<-connection.CloseChan()
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return &rest.Config{Host: server.URL}
}

func TestNodePluginsAreAskedThroughTheAPIServer(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(data, failures httpstream.Stream)
		want  func(seen.View) bool
	}{
		"it answers": {func(data, _ httpstream.Stream) {
			requests := bufio.NewReader(data)
			for range 2 {
				r, err := http.ReadRequest(requests)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Host != "127.0.0.1:8082" {
					t.Errorf("it is asked as %s", r.Host)
				}
				body := `{"kind":"Info","node":"n1"}`
				if r.URL.Path == "/v1/pulls" {
					body = `{"items":[{"id":"1","image":"a"}]}`
				}
				fmt.Fprintf(data, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		}, func(v seen.View) bool { return v.Failure == "" && v.Info.Node == "n1" && len(v.Pulls) == 1 }},
		"nothing listens": {func(data, failures httpstream.Stream) {
			fmt.Fprint(failures, "connection refused")
			_ = failures.Close()
			_ = data.Close()
		}, func(v seen.View) bool { return strings.Contains(v.Failure, "connection refused") }},
		"it is silent":  {func(httpstream.Stream, httpstream.Stream) {}, func(v seen.View) bool { return v.Failure == "no answer in 1s" }},
		"not permitted": {nil, func(v seen.View) bool { return v.Cause == seen.Forbidden }},
	} {
		reader, err := New(apiServer(t, c.serve))
		if err != nil {
			t.Fatal(err)
		}
		plugin := seen.NodePlugin{Namespace: "image-csi-system", Pod: "p", Node: "n1", Port: 8082}
		away := seen.NodePlugin{Node: "n2", Unasked: "it does not run"}
		views, err := reader.Views(t.Context(), []seen.NodePlugin{plugin, away}, time.Second, seen.PartInfo, seen.PartPulls)
		if err != nil || len(views) != 2 || views[1].Failure != away.Unasked || !c.want(views[0]) {
			t.Errorf("%s: %+v, %v", name, views, err)
		}
	}
}
