package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/hack/cluster"
)

func newNode(n *clusterName) *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Stop, start or enter a node"}
	cmd.AddCommand(
		nodeAction(n, "stop", "Cut a node's power; its disk stays", (*cluster.Node).Stop),
		nodeAction(n, "start", "Start a stopped node and wait until it is ready", (*cluster.Node).Start),
		nodeAction(n, "reboot", "Cut a node's power and start it again", (*cluster.Node).Reboot),
		newNodeExec(n),
	)
	return cmd
}

func nodeAction(n *clusterName, verb, short string, do func(*cluster.Node, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := n.node(args[0])
			if err != nil {
				return err
			}
			return do(node, cmd.Context())
		},
	}
}

func newNodeExec(n *clusterName) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NAME COMMAND [ARGUMENT...]",
		Short: "Run a command in a node",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := n.node(args[0])
			if err != nil {
				return err
			}
			command := node.Command(cmd.Context(), args[1], args[2:]...)
			command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
			return command.Run()
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the name are the command's own flags
	return cmd
}

func (n clusterName) node(name string) (*cluster.Node, error) {
	c, err := n.open()
	if err != nil {
		return nil, err
	}
	return c.Node(name)
}

// parseNodes reads NAME=RUNTIME; an empty one is no node.
func parseNodes(flags []string) ([]cluster.NodeConfig, error) {
	var nodes []cluster.NodeConfig
	for _, flag := range flags {
		if flag == "" {
			continue
		}
		name, runtime, found := strings.Cut(flag, "=")
		if !found {
			return nil, fmt.Errorf("node %q has no container runtime: write NAME=RUNTIME, for example worker-1=containerd", flag)
		}
		nodes = append(nodes, cluster.NodeConfig{Name: name, Runtime: cluster.Runtime(runtime)})
	}
	return nodes, nil
}
