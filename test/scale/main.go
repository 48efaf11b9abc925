// Command scale measures the operator with thousands of nodes and fails if it misses a threshold. The operator is the real
// program in a process of its own, on a real API server with the installation's rights and admission policies; the nodes,
// their CSINodes and the node plugins' pods are objects that the command writes as kubelets and controllers would.
//
//	go -C test run ./scale [-nodes 500,2000,5000] [-heartbeats 1m]
//
// It needs KUBEBUILDER_ASSETS. Sizes are measured one after another, each on an empty API server, and compared.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/image-csi/image-csi-operator/hack/cluster/project"
)

func main() {
	sizes := flag.String("nodes", "500,2000,5000", "numbers of nodes, ascending; the last one is held to the thresholds")
	heartbeats := flag.Duration("heartbeats", time.Minute, "how long the kubelets only report, each every five minutes")
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // The operator has a log of its own.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *sizes, *heartbeats); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, sizes string, heartbeats time.Duration) error {
	dir, err := os.MkdirTemp("", "image-csi-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binaries, err := project.Build(ctx, dir)
	if err != nil {
		return err
	}
	var all []figures
	for _, text := range strings.Split(sizes, ",") {
		nodes, err := strconv.Atoi(text)
		if err != nil || nodes <= perKind*2 {
			return fmt.Errorf("%q is no number of nodes, or too small a one", text)
		}
		measured, err := measure(ctx, binaries.Manager, dir, nodes, heartbeats)
		if err != nil {
			err = fmt.Errorf("with %d nodes: %w", nodes, err)
			if len(all) > 0 {
				err = errors.Join(err, judge(os.Stdout, all))
			}
			return err
		}
		all = append(all, measured)
	}
	return judge(os.Stdout, all)
}
