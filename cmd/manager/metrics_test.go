package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metricsAddress is that of the metrics of the operator under test.
const metricsAddress = "127.0.0.1:18080"

// scrape reads the metrics with a token, and returns the answer's status and text.
func scrape(t *testing.T, token string) (status int, text string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+metricsAddress+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the operator makes it
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), err
}

// reviews counts what an operator asks the API server about readers of its metrics.
type reviews struct{ count atomic.Int64 }

func (r *reviews) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews" {
			r.count.Add(1)
		}
		return next.RoundTrip(request)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// guarded wants the metrics of a running operator to be served to those only whom Kubernetes lets read them. It takes three seconds.
func guarded(t *testing.T, cluster client.Client, asked *reviews) {
	g := NewWithT(t)
	token := func(name string) string {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		g.Expect(cluster.Create(t.Context(), account)).To(Succeed())
		request := &authenticationv1.TokenRequest{}
		g.Expect(cluster.SubResource("token").Create(t.Context(), account, request)).To(Succeed())
		return request.Status.Token
	}
	status := func(token string) func() (int, error) {
		return func() (int, error) {
			status, _, err := scrape(t, token)
			return status, err
		}
	}
	g.Eventually(status(""), soon).Should(Equal(http.StatusUnauthorized))
	refused, text, err := scrape(t, "invented")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(refused).To(BeElementOf(http.StatusUnauthorized, http.StatusInternalServerError))
	g.Expect(text).NotTo(ContainSubstring("controller_runtime_"))
	stranger, prometheus := token("stranger"), token("prometheus")
	g.Expect(status(stranger)()).To(Equal(http.StatusForbidden))

	reader := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "prometheus"}}}
	g.Expect(cluster.Create(t.Context(), reader)).To(Succeed())
	g.Expect(cluster.Create(t.Context(), binding)).To(Succeed())
	g.Eventually(status(prometheus), soon).Should(Equal(http.StatusOK))
	_, text, err = scrape(t, prometheus)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(text).To(ContainSubstring("controller_runtime_"))
	g.Expect(status(stranger)()).To(Equal(http.StatusForbidden))

	plain, err := http.Get("http://" + metricsAddress + "/metrics")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(plain.Body.Close()).To(Succeed())
	g.Expect(plain.StatusCode).To(Equal(http.StatusBadRequest), "the metrics are served without TLS")

	// Strangers who invent tokens cost the API server no more than the operator grants them.
	before, began := asked.count.Load(), time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	var tried atomic.Int64
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, _, err := scrape(t, fmt.Sprintf("invented-%d-%d", i, n)); err == nil {
					tried.Add(1)
				}
			}
		})
	}
	group.Wait()
	most := 2*reviewsPerSecond + int64(time.Since(began).Seconds()+1)*reviewsPerSecond
	g.Expect(asked.count.Load()-before).To(And(BeNumerically(">", 0), BeNumerically("<=", most)), "of %d requests", tried.Load())
}

func counting(config *rest.Config, asked *reviews) *rest.Config {
	config.Wrap(asked.over)
	return config
}
