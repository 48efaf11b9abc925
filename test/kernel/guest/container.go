package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// containerPatience is how long a container may run, on an emulated processor.
const containerPatience = 15 * time.Minute

// container is what an OCI runtime is told to run.
type container struct {
	name      string
	args      []string
	env       []string
	label     string // SELinux, of the process; empty: none
	files     string // SELinux, of the container's own mounts
	appArmor  string
	ownUsers  bool // the container has users of its own, for whom those of /volume are mapped
	sandboxes bool // the container may make sandboxes
	spec      []oci.SpecOpts
}

// pluginContainer is the node plugin's, with the privileges that the operator gives it in mode Nsenter.
func pluginContainer(args ...string) (container, error) {
	class, ok := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	if !ok {
		return container{}, errors.New("there is no node class for containerd")
	}
	given := security.Context(class, "", security.RuntimeDefault())
	var capabilities []string
	for _, c := range given.Capabilities.Add {
		capabilities = append(capabilities, "CAP_"+string(c))
	}
	if *given.AllowPrivilegeEscalation || !*given.ReadOnlyRootFilesystem {
		return container{}, errors.New("the node plugin is less confined than this test can confine it")
	}
	return container{
		name: "plugin",
		args: args,
		spec: []oci.SpecOpts{
			oci.WithCapabilities(capabilities),
			oci.WithAllDevicesAllowed, // the quota tests make loop devices
			oci.WithMounts([]specs.Mount{
				{Destination: kubeletRoot, Source: kubeletRoot, Type: "bind", Options: []string{"rbind", "rslave", "rw"}},
				{Destination: contract.HostNamespacePath, Source: "/proc/1/ns", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}},
				{Destination: "/tmp", Source: "tmpfs", Type: "tmpfs"},
			}),
		},
	}, nil
}

// podContainer is a pod's, with a volume that it sees at /volume.
func podContainer(volume string, readOnly bool, uid uint32, args ...string) container {
	access := "rw"
	if readOnly {
		access = "ro"
	}
	c := container{
		name: "pod",
		args: append([]string{program, rolePod}, args...),
		spec: []oci.SpecOpts{
			oci.WithUIDGID(uid, uid),
			oci.WithMounts([]specs.Mount{{Destination: "/volume", Source: volume, Type: "bind", Options: []string{"rbind", "rprivate", access}}}),
		},
	}
	if uid != 0 {
		c.spec = append(c.spec, oci.WithCapabilities(nil))
	}
	return c
}

// run runs a container until it ends and returns what it printed.
func (c container) run() (string, error) {
	bundle, err := c.bundle()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), containerPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "runc", "run", "--no-new-keyring", "--bundle", bundle, filepath.Base(bundle))
	if c.appArmor != "" { // A profile does not let the container write to a file of the node's, and says nothing of pipes.
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	// A file, since SELinux does not let the domains of containers write to the host's pipes.
	output, err := os.Create(filepath.Join(bundle, "output"))
	if err != nil {
		return "", err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Run()
	said, readErr := os.ReadFile(output.Name())
	return string(said), errors.Join(err, readErr)
}

// bundle writes the container's configuration as containerd would.
func (c container) bundle() (string, error) {
	dir, err := os.MkdirTemp("/run", c.name+"-")
	if err != nil {
		return "", err
	}
	options := []oci.SpecOpts{
		oci.WithRootFSPath(rootfs),
		oci.WithRootFSReadonly(),
		oci.WithProcessArgs(c.args...),
		oci.WithEnv(append(c.env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")),
		oci.WithNoNewPrivileges,
		oci.WithSelinuxLabel(c.label),
		oci.WithApparmorProfile(c.appArmor),
	}
	options = append(append(options, c.spec...), seccomp.WithDefaultProfile())
	spec, err := oci.GenerateSpec(namespaces.WithNamespace(context.Background(), "k8s.io"), nil,
		&containers.Container{ID: filepath.Base(dir)}, options...)
	if err != nil {
		return "", fmt.Errorf("configuring a container: %w", err)
	}
	spec.Linux.MountLabel = c.files
	if c.ownUsers {
		giveOwnUsers(spec)
	}
	if c.sandboxes {
		if err := letMakeSandboxes(spec); err != nil {
			return "", err
		}
	}
	spec.Linux.RootfsPropagation = "rslave"
	config, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600)
}

// giveOwnUsers does what a container runtime does for a pod with hostUsers: false.
func giveOwnUsers(spec *oci.Spec) {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100_000, Size: 65_536}}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = ids, ids
	for i := range spec.Mounts {
		if spec.Mounts[i].Destination == "/volume" {
			spec.Mounts[i].UIDMappings, spec.Mounts[i].GIDMappings = ids, ids
		}
	}
}
