package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/contrib/apparmor"

	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// defaultProfile is the name that containerd gives its default AppArmor profile.
const defaultProfile = "cri-containerd.apparmor.d"

// ownProfile is the node plugin's AppArmor profile, as administrators get it.
const ownProfile = "../config/apparmor/imagecsi-node-plugin"

// makeDisk makes the root file system of all machines: a node with an OCI runtime, and the containers' root directory
// with the engine's tests and the programs that make file systems.
func makeDisk(ctx context.Context, work, guest string) (string, error) {
	root := filepath.Join(work, "disk")
	archives, err := fetch(ctx, "packages", "e2fsprogs", "xfsprogs")
	if err != nil {
		return "", err
	}
	if err := unpackInto(ctx, root, archives); err != nil {
		return "", err
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "root", "etc/imagecsi", "srv/rootfs/proc", "srv/rootfs/sys",
		"srv/rootfs/dev", "srv/rootfs/run", "srv/rootfs/tmp", "srv/rootfs/var/lib/kubelet", "srv/rootfs/host/proc/1/ns", "srv/rootfs/volume"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	runtime := programs.Runc()
	if err := programs.Ensure(ctx, os.Stderr, nil, runtime); err != nil {
		return "", err
	}
	runc, err := runtime.Dir()
	if err != nil {
		return "", err
	}
	if err := command(ctx, "cp", guest, filepath.Join(root, "usr/bin/guest")); err != nil {
		return "", err
	}
	for _, name := range []string{"hostmount", "volume", "pull", "imagestore/crio"} {
		err = command(ctx, "go", "-C", "..", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(root, "usr/bin", filepath.Base(name)+".test"),
			"./internal/nodeplugin/"+name)
		if err != nil {
			return "", err
		}
	}
	testdata, err := filepath.Abs("../internal/nodeplugin/hostmount/testdata")
	if err != nil {
		return "", err
	}
	err = shell(ctx, root, "rm -rf usr/share/doc usr/share/man usr/share/locale && for dir in bin sbin lib lib64 usr etc; do "+
		"test ! -e $dir || cp -a $dir srv/rootfs/; done && cp "+filepath.Join(runc, "runc")+" usr/bin/runc && "+
		// At the same path for the tests and for the engine, which sees the node's files.
		"cp -r "+testdata+" . && cp -r "+testdata+" srv/rootfs/ && "+
		// The one program that its AppArmor profile lets the node plugin run.
		"cp usr/bin/guest srv/rootfs"+contract.NodePluginBinary)
	if err != nil {
		return "", err
	}
	if err := compilePolicies(ctx, work, filepath.Join(root, "etc/imagecsi")); err != nil {
		return "", err
	}
	disk := filepath.Join(work, "disk.ext4")
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		return "", err
	}
	if err := os.Truncate(disk, 3<<30); err != nil {
		return "", err
	}
	return disk, command(ctx, "mkfs.ext4", "-q", "-d", root, disk)
}

// compilePolicies writes the SELinux policy, containerd's default AppArmor profile and the node plugin's own in the form that kernels
// load.
func compilePolicies(ctx context.Context, work, to string) error {
	tools := filepath.Join(work, "tools")
	archives, err := fetch(ctx, "packages", "secilc", "apparmor")
	if err != nil {
		return err
	}
	if err := unpackInto(ctx, tools, archives); err != nil {
		return err
	}
	// The tools need nothing of this machine.
	tool := func(name string, args ...string) error {
		libraries := filepath.Join(tools, "lib/x86_64-linux-gnu") + ":" + filepath.Join(tools, "usr/lib/x86_64-linux-gnu")
		return command(ctx, filepath.Join(tools, "lib64/ld-linux-x86-64.so.2"),
			append([]string{"--library-path", libraries, filepath.Join(tools, name)}, args...)...)
	}
	err = tool("usr/bin/secilc", "-o", filepath.Join(to, "selinux.policy"), "-f", os.DevNull, "-M", "true", "-U", "allow", "-c", "31",
		"kernel/policy/policy.cil")
	if err != nil {
		return err
	}
	profile, err := apparmor.DumpDefaultProfile(defaultProfile)
	if err != nil {
		return fmt.Errorf("asking for containerd's AppArmor profile: %w", err)
	}
	source := filepath.Join(work, "apparmor")
	if err := os.WriteFile(source, []byte(profile), 0o600); err != nil {
		return err
	}
	etc := filepath.Join(tools, "etc/apparmor.d")
	for _, source := range []string{source, ownProfile} {
		if err := tool("sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache", "--base", etc, "--features-file", filepath.Join(etc, "abi/3.0"),
			"--ofile", filepath.Join(to, filepath.Base(source)+".apparmor"), source); err != nil {
			return err
		}
	}
	return nil
}
