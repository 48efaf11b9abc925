package install

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/simulatedfleet"
)

const nodeName = "n1"

// node plays a node and its kubelet: it runs the operator's program for the operator's pod, reports every pod ready, registers the
// drivers whose node plugins it has, and lets pods go.
type node struct {
	*plane
	client.Client
	dir       string // of logs and kubeconfigs
	operators map[string]*exec.Cmd
}

// runNode has a node in the cluster until the test ends.
func runNode(t *testing.T, p *plane) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{plane: p, dir: t.TempDir(), operators: map[string]*exec.Cmd{}}
	if n.Client, err = client.New(config, client.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := n.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	var last error
	go func() {
		defer close(done)
		for tick := time.NewTicker(300 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			last = n.sync(ctx)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		for pod := range n.operators {
			n.end(pod)
		}
		if t.Failed() {
			t.Log("the node's last error:", last)
			logs, _ := filepath.Glob(filepath.Join(n.dir, "*.log"))
			for _, log := range logs {
				said, _ := os.ReadFile(log)
				t.Logf("%s:\n%s", log, said[max(0, len(said)-8000):])
			}
		}
	})
}

func (n *node) create(ctx context.Context) error {
	meta := metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/hostname": nodeName}}
	if err := n.Create(ctx, &corev1.Node{ObjectMeta: meta}); err != nil {
		return err
	}
	if err := n.Create(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}); err != nil {
		return err
	}
	return n.report(ctx)
}

// report reports the node ready, as a kubelet does every ten seconds.
func (n *node) report(ctx context.Context) error {
	var live corev1.Node
	if err := n.Get(ctx, client.ObjectKey{Name: nodeName}, &live); err != nil {
		return err
	}
	now := metav1.Now()
	since := now
	for _, condition := range live.Status.Conditions {
		if condition.Type == corev1.NodeReady && now.Sub(condition.LastHeartbeatTime.Time) < 10*time.Second {
			return nil
		}
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			since = condition.LastTransitionTime
		}
	}
	before := live.DeepCopy()
	live.Status = corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Played", LastHeartbeatTime: now, LastTransitionTime: since}},
		Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"),
			corev1.ResourcePods: resource.MustParse("50")},
		NodeInfo: corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.4.2", OSImage: "Debian GNU/Linux 12 (bookworm)",
			KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: "amd64"},
	}
	return n.Status().Patch(ctx, &live, client.MergeFrom(before)) // others write to it, too
}

// sync does once what a kubelet does all the time.
func (n *node) sync(ctx context.Context) error {
	if err := n.report(ctx); err != nil {
		return err
	}
	var pods corev1.PodList
	if err := n.List(ctx, &pods); err != nil {
		return err
	}
	drivers := map[string]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.NodeName != nodeName {
			continue
		}
		if err := n.syncPod(ctx, pod); err != nil {
			return fmt.Errorf("pod %s: %w", pod.Name, err)
		}
		if driver := pod.Labels[contract.DriverLabel]; driver != "" && pod.DeletionTimestamp == nil {
			drivers[driver] = true
		}
	}
	return n.register(ctx, slices.Sorted(maps.Keys(drivers)))
}

func (n *node) syncPod(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		n.end(string(pod.UID))
		return client.IgnoreNotFound(n.Delete(ctx, pod, client.GracePeriodSeconds(0)))
	}
	if simulatedfleet.Ready(pod) {
		return nil
	}
	if pod.Labels["app.kubernetes.io/component"] == "manager" {
		if err := n.run(pod); err != nil {
			return err
		}
	}
	simulatedfleet.Run(pod, corev1.ContainerStateWaiting{})
	return n.Status().Update(ctx, pod)
}

// run runs the operator's program with what its pod says, and with the rights of the pod's service account.
func (n *node) run(pod *corev1.Pod) error {
	config, err := clientcmd.LoadFromFile(n.kubeconfig)
	if err != nil {
		return err
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + pod.Namespace + ":" + pod.Spec.ServiceAccountName
	}
	kubeconfig := filepath.Join(n.dir, string(pod.UID)+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		return err
	}
	container := pod.Spec.Containers[0]
	// Not CommandContext: it ends as the kubelet ends it.
	command := exec.Command(n.manager, append(container.Args, "--metrics-bind-address=0", "--health-probe-bind-address=0")...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	for _, variable := range container.Env {
		value := variable.Value
		if variable.ValueFrom != nil {
			value = pod.Namespace
		}
		command.Env = append(command.Env, variable.Name+"="+value)
	}
	log, err := os.Create(filepath.Join(n.dir, string(pod.UID)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stderr = log
	n.operators[string(pod.UID)] = command
	return command.Start()
}

// end ends the program of a pod, if it has one.
func (n *node) end(pod string) {
	command := n.operators[pod]
	if command == nil {
		return
	}
	delete(n.operators, pod)
	_ = command.Process.Signal(syscall.SIGTERM)
	_ = command.Wait()
}

// register has the CSINode list drivers.
func (n *node) register(ctx context.Context, names []string) error {
	var live storagev1.CSINode
	if err := n.Get(ctx, client.ObjectKey{Name: nodeName}, &live); err != nil {
		return err
	}
	var drivers []storagev1.CSINodeDriver
	for _, name := range names {
		drivers = append(drivers, storagev1.CSINodeDriver{Name: name, NodeID: nodeName})
	}
	if slices.EqualFunc(live.Spec.Drivers, drivers, func(a, b storagev1.CSINodeDriver) bool { return a.Name == b.Name }) {
		return nil
	}
	live.Spec.Drivers = drivers
	if err := n.Update(ctx, &live); err != nil && !apierrors.IsConflict(err) {
		return err
	}
	return nil
}
