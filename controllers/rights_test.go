package controllers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// usedRights collects what the operator asks of the API server in all tests.
type usedRights struct {
	mu   sync.Mutex
	used map[string]bool
}

// rightsTransport notes every request.
type rightsTransport struct {
	next   http.RoundTripper
	rights *usedRights
}

// RoundTrip implements http.RoundTripper.
func (t *rightsTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.rights.mu.Lock()
	t.rights.used[rightOf(r)] = true
	t.rights.mu.Unlock()
	return t.next.RoundTrip(r)
}

// everywhere is the scope of a ClusterRole; a Role's is its namespace. A request in the node plugins' namespace never needs a
// ClusterRole, so a right that only such requests use belongs into the Role.
const everywhere = "everywhere"

// rightOf reads a request as the API server does (Kubernetes documentation, "Determine the request verb").
func rightOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group, scope := "", everywhere
	if parts[0] == "apis" && len(parts) > 1 {
		group, parts = parts[1], parts[1:]
	}
	parts = parts[min(2, len(parts)):] // api or the group, and the version
	if len(parts) > 2 && parts[0] == "namespaces" {
		if parts[1] == namespace {
			scope = namespace
		}
		parts = parts[2:]
	}
	if len(parts) == 0 {
		return ""
	}
	resource := parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	switch {
	case verb != "":
	case r.URL.Query().Get("watch") != "":
		verb = "watch"
	case len(parts) > 1:
		verb = "get"
	default:
		verb = "list"
	}
	return right(verb, resource, group, scope)
}

func right(verb, resource, group, scope string) string {
	return strings.TrimSuffix(verb+" "+resource+"."+group, ".") + " " + scope
}

// needs reports whether the operator used a right, or needs it where no test comes by.
func (u *usedRights) needs(verb, resource, group, scope string) bool {
	used := func(verb string) bool { return u.used[right(verb, resource, group, scope)] }
	switch {
	case used(verb):
		return true
	case verb == "create":
		return used("patch") // to apply what does not exist takes both
	case verb == "list":
		return used("watch") // a watch starts with a list on servers that do not send both in one
	case verb == "get" && resource == "imagecsidrivers":
		// The API server demands it of who applies a policy with that parameter, or a binding of one.
		return u.used[right("patch", "validatingadmissionpolicies", "admissionregistration.k8s.io", everywhere)]
	case verb == "patch" && resource == "events":
		return used("create") // for an event that is written again within minutes
	}
	return false
}

// surplus returns the rights in the file of roles that no test needed. A right that the operator lacks fails the test
// that needs it; this finds the ones that it could do without. It says nothing when not all tests have run.
func (u *usedRights) surplus(rbac string) ([]string, error) {
	if run := flag.Lookup("test.run"); run != nil && run.Value.String() != "" {
		return nil, nil
	}
	file, err := os.Open(filepath.Join(rbac, "role.yaml"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var unused []string
	for documents := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var role rbacv1.ClusterRole // a Role has the same rules
		if err := documents.Decode(&role); errors.Is(err, io.EOF) {
			slices.Sort(unused)
			return slices.Compact(unused), nil
		} else if err != nil {
			return nil, err
		}
		scope := everywhere
		if role.Kind == "Role" {
			scope = role.Namespace
		}
		for _, rule := range role.Rules {
			unused = append(unused, u.unused(rule, scope)...)
		}
	}
}

// unused returns what a rule gives and no test needed.
func (u *usedRights) unused(rule rbacv1.PolicyRule, scope string) (out []string) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if !u.needs(verb, resource, group, scope) {
					out = append(out, right(verb, resource, group, scope))
				}
			}
		}
	}
	return out
}

// Leader election is the program's setting (cmd/manager), but its rights are among those that every test has to stand for.
func TestTheOperatorMayLead(t *testing.T) {
	c := newCluster(t)
	c.leads = true
	stop := c.operate()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: leaseName}}
	holder := func() string {
		if !c.exists(lease)() {
			return ""
		}
		return ptr.Deref(lease.Spec.HolderIdentity, "")
	}
	c.Eventually(holder, soon).ShouldNot(BeEmpty())
	c.driver(driverName)
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("False NoEligibleNodes"))
	stop()
	c.Expect(holder()).To(BeEmpty(), "the next operator has to wait")
}

// So are the rights to ask who reads the metrics (cmd/manager), and whether he may.
func TestTheOperatorMayAskWhoReadsItsMetrics(t *testing.T) {
	c := newCluster(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	c.Expect(err).NotTo(HaveOccurred())
	address := free.Addr().String()
	c.Expect(free.Close()).To(Succeed())
	c.metrics = metricsserver.Options{BindAddress: address, FilterProvider: filters.WithAuthenticationAndAuthorization}
	c.start()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"}}
	c.Expect(c.Create(c.ctx, account)).To(Succeed())
	c.Cleanup(func() { c.Expect(c.Delete(context.Background(), account)).To(Succeed()) })
	token := &authenticationv1.TokenRequest{}
	c.Expect(c.SubResource("token").Create(c.ctx, account, token)).To(Succeed())
	c.Eventually(func() (int, error) {
		request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer "+token.Status.Token)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}, soon).Should(Equal(http.StatusForbidden), "both were asked: an operator without the rights answers otherwise")
}

func TestARightIsUsedInItsScopeAndGroup(t *testing.T) {
	u := &usedRights{used: map[string]bool{}}
	for method, paths := range map[string][]string{
		http.MethodGet:    {"/api/v1/pods", "/api/v1/namespaces/" + namespace + "/secrets", "/apis/apps/v1/namespaces/other/daemonsets/x"},
		http.MethodPost:   {"/apis/events.k8s.io/v1/namespaces/default/events"},
		http.MethodDelete: {"/api/v1/namespaces/" + namespace + "/pods/x"},
		http.MethodPatch:  {"/apis/g/v1/things/x/status"},
	} {
		for _, path := range paths {
			request, err := http.NewRequestWithContext(t.Context(), method, "https://server"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			u.used[rightOf(request)] = true
		}
	}
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: strings.Split(group, ","), Resources: []string{resource}, Verbs: verbs}
	}
	for _, test := range []struct {
		rule  rbacv1.PolicyRule
		scope string
		want  string
	}{
		{rule("", "pods", "list"), everywhere, ""},
		{rule("", "pods", "delete"), everywhere, "delete pods everywhere"},
		{rule("", "pods", "delete", "list"), namespace, "list pods " + namespace},
		{rule("", "secrets", "list"), everywhere, "list secrets everywhere"},
		{rule("apps", "daemonsets", "get"), everywhere, ""},
		{rule(",events.k8s.io", "events", "create", "patch"), everywhere, "create events everywhere, patch events everywhere"},
		{rule("g", "things/status", "patch", "create"), everywhere, ""},
		{rule("g", "things", "patch"), everywhere, "patch things.g everywhere"},
	} {
		if got := strings.Join(u.unused(test.rule, test.scope), ", "); got != test.want {
			t.Errorf("%v: unused are %q, want %q", test.rule, got, test.want)
		}
	}
}

// checkRights is the last test of the package, and returns its exit code.
func checkRights(u *usedRights) int {
	unused, err := u.surplus(filepath.Join("..", "config", "rbac"))
	if err == nil && len(unused) > 0 {
		err = fmt.Errorf("config/rbac gives the operator rights that no test needs: %s; take them away, or test what needs them",
			strings.Join(unused, ", "))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
