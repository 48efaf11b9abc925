package nodes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// The directories of CRI-O's image store.
const (
	crioRoot    = "/var/lib/containers/storage"
	crioRunRoot = "/run/containers/storage"
)

// inContainer returns the command that runs the plugin as the kubelet would, by runc, under the plugin's seccomp profile:
// in the DaemonSet's circumstances, but in the node's network.
func (p *Plugin) inContainer(t testing.TB, args []string) []string {
	t.Helper()
	name := "seccomp-" + p.Driver
	bundle := filepath.Join("/opt/bundles", name)
	for _, dir := range []string{bundle + "/rootfs", p.CredentialsDir()} {
		if err := os.MkdirAll(filepath.Join(p.Target.Root(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config, err := json.Marshal(p.container(t, args))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Target.Root(), bundle, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", "-c", `runc delete --force "$1" 2>/dev/null; exec runc run --no-new-keyring --bundle "$2" "$1"`, "sh", name, bundle}
}

func (p *Plugin) container(t testing.TB, args []string) specs.Spec {
	t.Helper()
	// The Security Profiles Operator writes the spec of its object into a file, and the runtime reads it.
	text, err := json.Marshal(p.Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	var profile specs.LinuxSeccomp
	if err := json.Unmarshal(text, &profile); err != nil {
		t.Fatal(err)
	}
	capabilities := []string{"CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER",
		"CAP_SETFCAP", "CAP_MKNOD", "CAP_FSETID"}
	bind := func(source, at string, options ...string) specs.Mount {
		return specs.Mount{Type: "bind", Source: source, Destination: at, Options: append([]string{"rbind"}, options...)}
	}
	runtime := filepath.Dir(p.Target.Node.RuntimeSocket())
	var store []specs.Mount
	if p.Target.Runtime == contract.RuntimeCRIO {
		store = []specs.Mount{bind(crioRoot, crioRoot, "rslave"), bind(crioRunRoot, crioRunRoot, "rslave")}
	}
	return specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Args: args, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		},
		Mounts: append(store, []specs.Mount{
			{Type: "proc", Source: "proc", Destination: "/proc"},
			{Type: "tmpfs", Source: "tmpfs", Destination: "/dev"},
			bind(filepath.Dir(p.Target.program), filepath.Dir(p.Target.program), "ro"),
			bind("/etc", "/etc", "ro"),
			bind(p.CredentialsDir(), p.CredentialsDir(), "ro"),
			bind(runtime, runtime, "ro"),
			bind("/proc/1/ns", contract.HostNamespacePath, "ro"),
			bind(filepath.Join(KubeletRoot, contract.RegistryDir), filepath.Join(KubeletRoot, contract.RegistryDir)),
			bind(filepath.Join(KubeletRoot, contract.PluginsDir, p.Driver), filepath.Join(KubeletRoot, contract.PluginsDir, p.Driver), "rslave"),
		}...),
		Linux: &specs.Linux{
			Namespaces:        []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
			RootfsPropagation: "rslave",
			Seccomp:           &profile,
		},
	}
}
