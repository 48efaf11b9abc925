package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
)

//go:embed simulated-nodes.yaml
var simulatedNodes string

// upSimulated shows what needs no root: a real control plane and the operator, on Node objects that no machine backs.
func upSimulated(ctx context.Context, s steps, reason error) error {
	fmt.Printf("This machine lets the demo run no nodes: %v.\n"+
		"So it runs a real control plane and the operator with simulated Node objects. Mounting images in pods is the part\n"+
		"that needs root: run `make demo` as root to see it.\n\n", reason)
	c, binaries, err := startCluster(ctx, s, nil)
	if err != nil {
		return err
	}
	k, err := client(c)
	if err != nil {
		return err
	}
	s.say("installing the custom resource and simulated nodes")
	if err := prepareSimulation(ctx, k); err != nil {
		return err
	}
	s.say("starting the operator as a process of yours")
	if err := startOperator(ctx, c, binaries); err != nil {
		return err
	}
	if err := k.run(ctx, "", "apply", "-f", "config/samples/storage_v1alpha1_imagecsidriver.yaml"); err != nil {
		return err
	}
	s.say("waiting until the operator has sorted the nodes")
	if err := k.run(ctx, "", "wait", `--for=jsonpath={.status.nodes.total}=`+strconv.Itoa(strings.Count(simulatedNodes, "kind: Node")), "--timeout=60s", "imagecsidriver/"+driver); err != nil {
		return err
	}
	s.say("done; the DaemonSets stay at 0 ready, for no kubelet runs their pods")
	if err := showTables(ctx, k); err != nil {
		return err
	}
	if err := k.show(ctx, "get", "imagecsidriver", driver, "-o", `jsonpath={range .status.problems[*]}{.node}: {.message}{"\n"}{end}`); err != nil {
		return err
	}
	k.hint()
	return nil
}

func prepareSimulation(ctx context.Context, k kubectl) error {
	if err := k.run(ctx, "", "apply", "--server-side", "-k", "config/crd"); err != nil {
		return err
	}
	if err := k.run(ctx, "", "wait", "--for=condition=Established", "--timeout=60s", "crd/imagecsidrivers.storage.imagecsi.dev"); err != nil {
		return err
	}
	if err := k.run(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: image-csi-system}}", "apply", "-f", "-"); err != nil {
		return err
	}
	if err := k.run(ctx, simulatedNodes, "apply", "-f", "-"); err != nil {
		return err
	}
	// A Node's status is a sub-resource: apply leaves it out, and only the kubelet writes it otherwise.
	return k.run(ctx, simulatedNodes, "apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-")
}

// startOperator runs the manager detached, so that it lives as long as the demo does.
func startOperator(ctx context.Context, c *cluster.Cluster, binaries project.Binaries) error {
	if err := stopOperator(ctx, c); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.StateDir(), "operator.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// Not CommandContext: the operator outlives this program.
	command := exec.Command(binaries.Manager, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "POD_NAMESPACE=image-csi-system",
		"NODE_PLUGIN_IMAGE=ghcr.io/"+project.Repository+":"+project.Tag)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the operator: %w", err)
	}
	pid := command.Process.Pid
	if err := os.WriteFile(operatorRecord(c), []byte(strconv.Itoa(pid)+" "+binaries.Manager), 0o644); err != nil {
		return errors.Join(err, command.Process.Kill())
	}
	return command.Process.Release()
}

func operatorRecord(c *cluster.Cluster) string { return filepath.Join(c.StateDir(), "operator.pid") }

// stopOperator ends the manager that startOperator left running, if it still is that program.
func stopOperator(ctx context.Context, c *cluster.Cluster) error {
	record, err := os.ReadFile(operatorRecord(c))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, program, _ := strings.Cut(string(record), " ")
	number, err := strconv.Atoi(pid)
	if err != nil {
		return fmt.Errorf("read %s: %w; remove it, and end the operator by hand", operatorRecord(c), err)
	}
	for signal := syscall.SIGTERM; runs(pid, program); signal = syscall.SIGKILL {
		if err := syscall.Kill(number, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the operator (process %s): %w", pid, err)
		}
		for deadline := time.Now().Add(5 * time.Second); runs(pid, program) && time.Now().Before(deadline) && ctx.Err() == nil; {
			time.Sleep(50 * time.Millisecond)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return os.Remove(operatorRecord(c))
}

// runs reports whether the process is still the program that was started: a number is used again after a while.
func runs(pid, program string) bool {
	command, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err == nil && strings.HasPrefix(string(command), program+"\x00")
}
