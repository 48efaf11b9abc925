package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/simulatedfleet"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
)

// atOnce is how many requests the fleet has under way.
const atOnce = 16

// imagesPerNode is what a kubelet reports at most (nodeStatusMaxImages): the bulk of a Node.
const imagesPerNode = 50

// fleet plays the kubelets and the DaemonSet controller one node at a time, as the measurement says.
type fleet struct {
	*installation.Server
	// daemonSets by class, once they are scheduled.
	daemonSets map[string]*appsv1.DaemonSet
}

func name(i int) string { return fmt.Sprintf("worker-%05d.zone-%d.example.com", i, i%3) }

func podName(i int) string { return fmt.Sprintf("node-plugin-%05d", i) }

// class of node i: four in five run containerd, the others CRI-O.
func class(i int) string {
	if i%5 == 4 {
		return "crio"
	}
	return "containerd"
}

func runtimeVersion(class string) string {
	return map[string]string{"containerd": "containerd://2.1.4", "crio": "cri-o://1.34.0"}[class]
}

// each does something for the nodes from one number to before another.
func (f *fleet) each(ctx context.Context, from, to int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := from; i < to && ctx.Err() == nil; i++ {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// join is a node that comes into the cluster.
func (f *fleet) join(ctx context.Context, i int) error {
	if err := f.Create(ctx, node(i)); err != nil {
		return err
	}
	return f.Create(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name(i)}})
}

// daemonSet returns the one of a class.
func (f *fleet) daemonSet(ctx context.Context, class string) (*appsv1.DaemonSet, error) {
	var found appsv1.DaemonSetList
	if err := f.List(ctx, &found, client.InNamespace(installation.Namespace), client.MatchingLabels{contract.NodeClassLabel: class}); err != nil {
		return nil, err
	}
	if len(found.Items) != 1 {
		return nil, fmt.Errorf("class %s has %d DaemonSets, not one", class, len(found.Items))
	}
	return &found.Items[0], nil
}

// schedule is the DaemonSet controller that has seen the DaemonSets.
func (f *fleet) schedule(ctx context.Context) error {
	f.daemonSets = map[string]*appsv1.DaemonSet{}
	for _, class := range []string{"containerd", "crio"} {
		daemonSet, err := f.daemonSet(ctx, class)
		if err != nil {
			return err
		}
		f.daemonSets[class] = daemonSet
		daemonSet.Status.ObservedGeneration = daemonSet.Generation
		if err := f.Status().Update(ctx, daemonSet); err != nil {
			return err
		}
	}
	return nil
}

// serve is a node plugin that starts on a node, gets ready, and is registered by the kubelet.
func (f *fleet) serve(ctx context.Context, i int) error {
	pod := simulatedfleet.Pod(f.daemonSets[class(i)], name(i))
	pod.GenerateName, pod.Name = "", podName(i)
	if err := f.Create(ctx, pod); err != nil {
		return err
	}
	simulatedfleet.Run(pod, corev1.ContainerStateWaiting{})
	if err := f.Status().Update(ctx, pod); err != nil {
		return err
	}
	registered := fmt.Sprintf(`{"spec": {"drivers": [{"name": %q, "nodeID": %q, "topologyKeys": null}]}}`, contract.DefaultDriverName, name(i))
	return f.Patch(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}, client.RawPatch(types.MergePatchType, []byte(registered)))
}

// change is a node that comes back with the other container runtime.
func (f *fleet) change(ctx context.Context, i int) error {
	other := "crio"
	if class(i) == other {
		other = "containerd"
	}
	status := fmt.Sprintf(`{"status": {"nodeInfo": {"containerRuntimeVersion": %q}}}`, runtimeVersion(other))
	return f.Status().Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}, client.RawPatch(types.MergePatchType, []byte(status)))
}

// leave is a node that goes for good.
func (f *fleet) leave(ctx context.Context, i int) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: installation.Namespace, Name: podName(i)}}
	for _, object := range []client.Object{&corev1.Node{}, &storagev1.CSINode{}} {
		object.SetName(name(i))
		if err := f.Delete(ctx, object); err != nil {
			return err
		}
	}
	return f.Delete(ctx, pod, client.GracePeriodSeconds(0))
}

// beat is a kubelet that reports that nothing has changed.
func (f *fleet) beat(ctx context.Context, i int) error {
	now := time.Now().UTC().Format(time.RFC3339)
	status := fmt.Sprintf(`{"status": {"conditions": [{"type": "MemoryPressure", "lastHeartbeatTime": %[1]q}, {"type": "DiskPressure", "lastHeartbeatTime": %[1]q},
		{"type": "PIDPressure", "lastHeartbeatTime": %[1]q}, {"type": "Ready", "lastHeartbeatTime": %[1]q}]}}`, now)
	patch := client.RawPatch(types.StrategicMergePatchType, []byte(status))
	return f.Status().Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}, patch)
}

// node is what a kubelet of a cloud's cluster creates.
func node(i int) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name(i), Labels: map[string]string{
		corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelHostname: name(i),
		corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3), corev1.LabelTopologyRegion: "region-1",
		corev1.LabelInstanceTypeStable: "standard-8", "node.example.com/pool": fmt.Sprintf("pool-%d", i%10),
	}}}
	capacity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("200Gi")}
	n.Status = corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name(i)},
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: fmt.Sprintf("%032x", i), SystemUUID: fmt.Sprintf("%032x", i), BootID: fmt.Sprintf("%032x", i),
			KernelVersion: "6.12.43+deb13-amd64", OSImage: "Debian GNU/Linux 13 (trixie)", OperatingSystem: "linux", Architecture: "amd64",
			KubeletVersion: "v1.34.1", ContainerRuntimeVersion: runtimeVersion(class(i)),
		},
	}
	now := metav1.Now()
	for kind, is := range map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeReady: corev1.ConditionTrue,
		corev1.NodeMemoryPressure: corev1.ConditionFalse, corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: is, LastHeartbeatTime: now,
			LastTransitionTime: now, Reason: "KubeletSays", Message: "what the kubelet says about it"})
	}
	for image := range imagesPerNode {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{SizeBytes: int64(image) << 20,
			Names: []string{fmt.Sprintf("registry.example.com/team-%d/application-%d@sha256:%064x", image%7, image, image*7919),
				fmt.Sprintf("registry.example.com/team-%d/application-%d:v1.%d", image%7, image, image)}})
	}
	return n
}
