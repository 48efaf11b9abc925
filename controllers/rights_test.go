package controllers_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
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

// rightOf reads a request as the API server does (Kubernetes documentation, "Determine the request verb").
func rightOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group := ""
	if parts[0] == "apis" && len(parts) > 1 {
		group, parts = parts[1], parts[1:]
	}
	parts = parts[min(2, len(parts)):] // api or the group, and the version
	if len(parts) > 2 && parts[0] == "namespaces" {
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
	return right(verb, resource, group)
}

func right(verb, resource, group string) string {
	return strings.TrimSuffix(verb+" "+resource+"."+group, ".")
}

// needs tells whether the operator used a right, or needs it where no test comes by.
func (u *usedRights) needs(verb, resource, group string) bool {
	switch {
	case u.used[right(verb, resource, group)]:
		return true
	case verb == "create" && u.used[right("patch", resource, group)]:
		return true // to apply what does not exist takes both
	case verb == "list" && u.used[right("watch", resource, group)]:
		return true // a watch starts with a list on servers that do not send both in one
	case verb == "patch" && resource == "events":
		return true // for an event that is written again within minutes
	default:
		return resource == "leases" // leader election is the program's (cmd/manager)
	}
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
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					if !u.needs(verb, resource, rule.APIGroups[0]) {
						unused = append(unused, right(verb, resource, rule.APIGroups[0]))
					}
				}
			}
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
