package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/hack/cluster"
)

// clusterName is the flags that all commands share.
type clusterName struct{ name, stateDir string }

func (n clusterName) open() (*cluster.Cluster, error) {
	if n.stateDir != "" {
		return cluster.OpenDir(n.stateDir)
	}
	return cluster.Open(n.name)
}

func newCommand() *cobra.Command {
	var n clusterName
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "Run a real Kubernetes on this machine, without Docker",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&n.name, "name", cluster.DefaultName, "the cluster's name")
	root.PersistentFlags().StringVar(&n.stateDir, "state-dir", "", "the directory of the cluster's state, if not the default")
	root.AddCommand(newBuild(), newUp(&n), newDown(&n), newStatus(&n), newKubeconfig(&n), newNode(&n), newLogs(&n))
	return root
}

func newUp(n *clusterName) *cobra.Command {
	var config cluster.Config
	var nodes []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or repair it",
		Example: "  cluster up                                     # a containerd node and a CRI-O node\n" +
			"  cluster up --node a=containerd-1.6 --node b=crio\n" +
			"  cluster up --node ''                           # an API server only; needs no root",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if config.Nodes, err = parseNodes(nodes); err != nil {
				return err
			}
			start := time.Now()
			config.Name, config.StateDir = n.name, n.stateDir
			config.Progress = func(step string) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%6.1fs  %s\n", time.Since(start).Seconds(), step)
			}
			c, err := cluster.Up(cmd.Context(), config)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%6.1fs  ready\n", time.Since(start).Seconds())
			if config.ControlPlane != cluster.ControlPlaneNone {
				fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", c.Kubeconfig())
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&nodes, "node", []string{"worker-1=containerd", "worker-2=crio"},
		"a node and its container runtime (containerd, containerd-1.6, crio); can be repeated; empty for none")
	cmd.Flags().StringVar(&config.Kubernetes, "kubernetes", cluster.DefaultKubernetes, "the Kubernetes release, 1.37 or 1.36")
	cmd.Flags().StringVar((*string)(&config.ControlPlane), "control-plane", string(cluster.ControlPlaneFull), "Full, or None for nodes without kubelets")
	cmd.Flags().DurationVar(&config.Patience, "patience", cluster.DefaultPatience, "how long each part may take to get ready")
	return cmd
}

func newDown(n *clusterName) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take the cluster down and remove all of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := n.open()
			if err != nil {
				return err
			}
			if keep {
				return c.Halt(cmd.Context())
			}
			return c.Down(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-state", false, "keep objects, images and logs, for the next up")
	return cmd
}

func newStatus(n *clusterName) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := n.open()
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), c)
		},
	}
}

func printStatus(w io.Writer, c *cluster.Cluster) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "NAME\tKIND\tADDRESS\tSTATE\n")
	fmt.Fprintf(table, "%s\tcontrol plane\t%s\t%s\n", c.Name(), c.HostRegistry()+" (registry)", running(c.Running(), 0))
	for _, node := range c.Nodes() {
		fmt.Fprintf(table, "%s\t%s node\t%s\t%s\n", node.Name(), node.Runtime(), node.Address(), running(node.Running(), node.PID()))
	}
	return table.Flush()
}

func running(yes bool, pid int) string {
	switch {
	case !yes:
		return "stopped"
	case pid == 0:
		return "running"
	default:
		return fmt.Sprintf("running (pid %d)", pid)
	}
}

func newKubeconfig(n *clusterName) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the admin's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := n.open()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), c.Kubeconfig())
			return nil
		},
	}
}

func newLogs(n *clusterName) *cobra.Command {
	return &cobra.Command{
		Use:     "logs [NODE] PROGRAM",
		Short:   "Print a log",
		Example: "  cluster logs kube-apiserver\n  cluster logs worker-1 kubelet",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := n.open()
			if err != nil {
				return err
			}
			find := c.Log
			if len(args) == 2 {
				node, err := c.Node(args[0])
				if err != nil {
					return err
				}
				find = node.Log
			}
			path, err := find(args[len(args)-1])
			if err != nil {
				return err
			}
			return copyFile(cmd.OutOrStdout(), path)
		},
	}
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// exitCode is that of a command run in a node, or 1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 1
}
