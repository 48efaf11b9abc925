package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
)

const (
	// assetsVariable is where envtest looks for kube-apiserver and etcd.
	assetsVariable = "KUBEBUILDER_ASSETS"

	// serverVariable is the kube-apiserver that envtest prefers to the one of KUBEBUILDER_ASSETS.
	serverVariable = "TEST_ASSET_KUBE_APISERVER"
)

// newBuild is for a machine that is to have everything before tests with deadlines of their own start.
func newBuild() *cobra.Command {
	var release, server string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build every program that a cluster can run, install the Debian packages they use, and print where tests find them",
		Example: "  eval \"$(cluster build)\"   # sets KUBEBUILDER_ASSETS (unless it is set) and IMAGECSI_TEST_CONTAINERD\n" +
			"  cluster build --kubernetes 1.36\n" +
			"  cluster build --api-server 1.31   # sets TEST_ASSET_KUBE_APISERVER and KUBEBUILDER_ASSETS",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kubernetes, err := programs.Kubernetes(release)
			if err != nil {
				return err
			}
			if server != "" {
				return buildAPIServer(cmd.Context(), cmd.ErrOrStderr(), cmd.OutOrStdout(), server, kubernetes)
			}
			if cluster.CannotRunNodes() != nil {
				return buildAssets(cmd.Context(), cmd.ErrOrStderr(), cmd.OutOrStdout(), kubernetes)
			}
			return buildAll(cmd.Context(), cmd.ErrOrStderr(), cmd.OutOrStdout(), kubernetes)
		},
	}
	cmd.Flags().StringVar(&release, "kubernetes", cluster.DefaultKubernetes, "the Kubernetes release, 1.37 or 1.36")
	cmd.Flags().StringVar(&server, "api-server", "", "build what tests against the API server of this older release need, and nothing else: 1.31, 1.33 or 1.35")
	return cmd
}

// buildAPIServer builds the API server of an older release, and the release whose etcd it uses.
func buildAPIServer(ctx context.Context, progress, out io.Writer, release string, kubernetes programs.Set) error {
	server, err := programs.APIServer(release)
	if err != nil {
		return err
	}
	if err := buildAssets(ctx, progress, out, kubernetes); err != nil {
		return err
	}
	if err := programs.Ensure(ctx, progress, nil, server); err != nil {
		return err
	}
	dir, err := server.Dir()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "export %s='%s'\n", serverVariable, filepath.Join(dir, "kube-apiserver"))
	return err
}

// buildAssets builds what tests against an API server need, unless the caller has it.
func buildAssets(ctx context.Context, progress, out io.Writer, kubernetes programs.Set) error {
	if os.Getenv(assetsVariable) != "" {
		return nil
	}
	if err := programs.Ensure(ctx, progress, nil, kubernetes); err != nil {
		return err
	}
	return export(out, assetsVariable, kubernetes)
}

func buildAll(ctx context.Context, progress, out io.Writer, kubernetes programs.Set) error {
	packages := []string{"busybox-static", "conmon", "iptables", "nftables"}
	err := programs.Ensure(ctx, progress, packages, kubernetes, programs.Containerd(), programs.Containerd16(),
		programs.Runc(), programs.CNI(), programs.CRIO())
	if err != nil {
		return err
	}
	if err := cluster.BuildSmall(ctx); err != nil {
		return err
	}
	if err := buildAssets(ctx, progress, out, kubernetes); err != nil {
		return err
	}
	return export(out, "IMAGECSI_TEST_CONTAINERD", programs.Containerd())
}

func export(out io.Writer, variable string, c programs.Set) error {
	dir, err := c.Dir()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "export %s='%s'\n", variable, dir)
	return err
}
