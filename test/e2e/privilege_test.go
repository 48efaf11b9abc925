package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// confined is what /proc/<pid>/status must say of every thread of a node plugin that serves: the capabilities that volumes take,
// and its own filter of system calls, beside the runtime's if that sets one.
func confined(filters int, bounding ...privileges.Capability) map[string]string {
	kept := privileges.Bits(privileges.Serving(contract.AccessReadWrite))
	return map[string]string{
		"NoNewPrivs":      "1",
		"Seccomp":         "2",
		"Seccomp_filters": fmt.Sprint(filters),
		"CapInh":          fmt.Sprintf("%016x", 0),
		"CapBnd":          fmt.Sprintf("%016x", kept|privileges.Bits(bounding)),
		"CapEff":          fmt.Sprintf("%016x", kept),
		"CapPrm":          fmt.Sprintf("%016x", kept),
		"CapAmb":          fmt.Sprintf("%016x", 0),
		"Uid":             "0\t0\t0\t0",
	}
}

// powerless is what it must say of programs that need nothing of their node: the operator, and what runs credential providers.
func powerless() map[string]string {
	const user = "65532\t65532\t65532\t65532"
	want := map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1", "Uid": user, "Gid": user}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		want[set] = fmt.Sprintf("%016x", 0)
	}
	return want
}

func (s *suite) everyThreadIs(t *testing.T, node, program string, want map[string]string) {
	t.Helper()
	for _, path := range s.threadsOf(t, node, program) {
		got := readStatus(t, path)
		for key, want := range want {
			if got[key] != want {
				t.Errorf("%s: %s is %s, want %s", path, key, got[key], want)
			}
		}
	}
}

// statusTells compares what the driver's status says of a class with the kernel's word.
func (s *suite) statusTells(t *testing.T, class string, container v1alpha1.ContainerPrivilege, profiles ...string) {
	t.Helper()
	var got v1alpha1.Confinement
	text := s.must(t, "get", "imagecsidriver", driver, "-o", `jsonpath={.status.nodeClasses[?(@.name=="`+class+`")].confinement}`)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("confinement of class %s in the driver's status is %q: %v", class, text, err)
	}
	kept := map[string]bool{}
	for _, c := range privileges.Serving(contract.AccessReadWrite) {
		kept[c.String()] = true
	}
	for _, name := range got.Capabilities {
		if !kept[name] {
			t.Errorf("the status has %s, which the process does not keep", name)
		}
	}
	if len(got.Capabilities) != len(kept) || got.Container != container || !slices.Equal(got.SeccompProfiles, profiles) || len(got.Looser) > 0 {
		t.Errorf("confinement of class %s in the driver's status is %s", class, text)
	}
}

// A privileged container may do everything when it starts, and its runtime filters nothing.
func crioPodHasConfinedItself(t *testing.T, s *suite) {
	s.everyThreadIs(t, nodes()["crio"], contract.NodePluginBinary, confined(1))
	s.statusTells(t, "crio", v1alpha1.ContainerPrivileged, "Process")
}

// idleMemory is the most that a node plugin has in memory before its first volume (VmRSS, in KiB): a fifth above what it takes, and
// less than what its start takes, which it gives back.
const idleMemory = 22 << 10

func idleNodePluginsAreSmall(t *testing.T, s *suite) {
	for class, node := range nodes() {
		status := readStatus(t, s.threadsOf(t, node, contract.NodePluginBinary)[0])
		used := status["VmRSS"]
		t.Logf("the node plugin of class %s: %s, %s of them files", class, used, status["RssFile"])
		if kibibytes, err := strconv.Atoi(strings.TrimSuffix(used, " kB")); err != nil || kibibytes > idleMemory {
			t.Errorf("the node plugin of class %s has %s in memory, and should have %d kB at most (%v)", class, used, idleMemory, err)
		}
	}
}

func operatorIsPowerless(t *testing.T, s *suite) {
	for _, node := range strings.Fields(s.must(t, "-n", operatorNamespace, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")) {
		s.everyThreadIs(t, node, "/manager", powerless())
	}
}

func credentialProvidersArePowerless(t *testing.T, s *suite) {
	for _, node := range nodes() {
		s.everyThreadIs(t, node, contract.CredentialProviderBinary, powerless())
	}
}

func containerdPodIsScoped(t *testing.T, s *suite) { podIsScoped(t, s, "containerd") }

// podIsScoped wants the node plugin of a class to have the privileges of mode Nsenter on every thread.
func podIsScoped(t *testing.T, s *suite, class string) {
	t.Helper()
	spec := "jsonpath={.spec.template.spec.containers[0].securityContext."
	for field, want := range map[string]string{
		"privileged}":               "false",
		"allowPrivilegeEscalation}": "false",
		"readOnlyRootFilesystem}":   "true",
		"capabilities.drop}":        `["ALL"]`,
	} {
		if got := s.must(t, "-n", s.namespace, "get", "daemonset", driver+"-"+class, "-o", spec+field); got != want {
			t.Errorf("%s: securityContext.%s is %s, want %s", class, strings.TrimSuffix(field, "}"), got, want)
		}
	}
	s.everyThreadIs(t, nodes()[class], contract.NodePluginBinary, confined(2, privileges.Container(contract.AccessReadWrite)...))
	profile := "RuntimeDefault"
	if file := s.must(t, "-n", s.namespace, "get", "daemonset", driver+"-"+class, "-o", spec+"seccompProfile.localhostProfile}"); file != "" {
		profile = "Localhost/" + file
	}
	s.statusTells(t, class, v1alpha1.ContainerUnprivileged, "Process", profile)
}

// threadsOf finds the status files of every thread of the program that runs on a node.
func (s *suite) threadsOf(t *testing.T, node, program string) []string {
	t.Helper()
	proc := filepath.Join(s.nodeRoot(t, node), "proc")
	commands, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		content, err := os.ReadFile(command)
		if err != nil || !bytes.HasPrefix(content, []byte(program+"\x00")) {
			continue
		}
		threads, err := filepath.Glob(filepath.Join(filepath.Dir(command), "task", "*", "status"))
		if err != nil || len(threads) == 0 {
			t.Fatalf("list the threads of %s: %v", command, err)
		}
		return threads
	}
	t.Fatalf("no process on %s is called %s", node, program)
	return nil
}

func readStatus(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if key, value, found := strings.Cut(lines.Text(), ":"); found {
			values[key] = strings.TrimSpace(value)
		}
	}
	return values
}
