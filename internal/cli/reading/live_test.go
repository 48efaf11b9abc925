package reading

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// A node plugin that was taken over answers what it likes.
func TestWhatANodePluginAnswersIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		items  int
		says   string
	}{
		"a list": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[{"id":"1"},{"id":"2"}]}`) }, 2, ""},
		"two pages": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("continue") == "a&b" {
				fmt.Fprint(w, `{"items":[{"id":"2"}]}`)
				return
			}
			fmt.Fprint(w, `{"items":[{"id":"1"}],"continue":"a&b"}`)
		}, 2, ""},
		"pages without end": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[{"id":"1"}],"continue":"x"}`) }, maxPages, "more than 40 pages"},
		"a page without end": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := fmt.Fprint(w, `{"items":[`+strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		}, 0, "more than 1048576 bytes"},
		"too many items": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"items":[{}`+strings.Repeat(",{}", 1000)+`]}`)
		}, liveview.MaxPage, ""},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x1b[2J"+strings.Repeat("x", 1<<16)) }, 0, "is none"},
		"another place": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, 0, "answers 302"},
		"a failure": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, `{"message":%q}`, "away"+strings.Repeat("x", 1<<16))
		}, 0, "answers 503: away"},
		"nothing": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "deadline"},
	} {
		server := httptest.NewServer(http.HandlerFunc(c.answer))
		a := asker{host: strings.TrimPrefix(server.URL, "http://"), client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		items, err := pages[liveview.Pull](ctx, a, liveview.PullsPath)
		cancel()
		server.CloseClientConnections()
		server.Close()
		if len(items) != c.items || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || len(err.Error()) > 1024) {
			t.Errorf("%s: %d items, %v; want %d, %q", name, len(items), err, c.items, c.says)
		}
	}
}

func TestAPodsArgumentsSayWhereItsLiveViewIs(t *testing.T) {
	pod := func(phase corev1.PodPhase, host bool, args ...string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "image-csi-system", Name: "p", Labels: map[string]string{contract.DriverLabel: "d", contract.RevisionLabel: "r"}},
			Spec:       corev1.PodSpec{NodeName: "n", HostNetwork: host, Containers: []corev1.Container{{}, {Args: args}}},
			Status:     corev1.PodStatus{Phase: phase},
		}
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		port int32
		says string
	}{
		"one":              {pod(corev1.PodRunning, false, "--live-address=127.0.0.1:8083"), 8083, ""},
		"an earlier one":   {pod(corev1.PodRunning, false, "--http-address=:8080"), 0, "release"},
		"in the node's":    {pod(corev1.PodRunning, true), 0, "network Host"},
		"one that starts":  {pod(corev1.PodPending, false, "--live-address=127.0.0.1:8082"), 8082, "does not run"},
		"one with nothing": {pod(corev1.PodRunning, false, "--live-address=x"), 0, "release"},
	} {
		got := nodePluginOf(c.pod)
		want := seen.NodePlugin{Namespace: "image-csi-system", Pod: "p", Node: "n", Driver: "d", Revision: "r", Port: c.port, Unasked: got.Unasked}
		if got != want || (got.Unasked == "") != (c.says == "") || !strings.Contains(got.Unasked, c.says) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
