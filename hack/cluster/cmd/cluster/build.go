package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/component"
)

// nodePackages are the Debian packages that nodes, their pods and the tests use.
var nodePackages = []string{"busybox-static", "conmon", "iptables", "nftables"}

// newBuild is for a machine that is to have everything before tests with deadlines of their own start.
func newBuild() *cobra.Command {
	var release string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build every program that a cluster can run, and install the Debian packages they use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kubernetes, err := component.Kubernetes(release)
			if err != nil {
				return err
			}
			if cluster.CannotRunNodes() != nil {
				return component.Ensure(cmd.Context(), cmd.ErrOrStderr(), kubernetes)
			}
			if err := component.Packages(cmd.Context(), cmd.ErrOrStderr(), nodePackages...); err != nil {
				return err
			}
			return component.Ensure(cmd.Context(), cmd.ErrOrStderr(), kubernetes, component.Containerd(),
				component.Containerd16(), component.Runc(), component.CNI(), component.CRIO())
		},
	}
	cmd.Flags().StringVar(&release, "kubernetes", cluster.DefaultKubernetes, "the Kubernetes release, 1.37 or 1.36")
	return cmd
}

// newAssets prints what envtest wants to know, and builds it first.
func newAssets() *cobra.Command {
	var release string
	cmd := &cobra.Command{
		Use:   "assets",
		Short: "Build kube-apiserver and etcd, and print their directory: the value for KUBEBUILDER_ASSETS",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kubernetes, err := component.Kubernetes(release)
			if err != nil {
				return err
			}
			if err := component.Ensure(cmd.Context(), cmd.ErrOrStderr(), kubernetes); err != nil {
				return err
			}
			dir, err := kubernetes.Dir()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&release, "kubernetes", cluster.DefaultKubernetes, "the Kubernetes release, 1.37 or 1.36")
	return cmd
}
