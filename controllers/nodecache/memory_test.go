package nodecache

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
)

// wire is an object as it comes from an API server.
type wire interface {
	client.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// large is a cluster in informers' stores and a cache.
type large struct {
	testing.TB
	*Cache
	stores map[string]cache.Indexer
}

// arrive decodes an object and lets an informer keep it.
func (l *large) arrive(transform func(any) (any, error), from, into wire) {
	l.Helper()
	text, err := from.Marshal()
	if err != nil {
		l.Fatal(err)
	}
	if err := into.Unmarshal(text); err != nil {
		l.Fatal(err)
	}
	keeps, err := transform(into)
	if err != nil {
		l.Fatal(err)
	}
	kind := fmt.Sprintf("%T", from)
	if l.stores[kind] == nil {
		l.stores[kind] = cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	if err := l.stores[kind].Add(keeps); err != nil {
		l.Fatal(err)
	}
	l.Note(nil, keeps.(client.Object))
}

// join adds a node as clouds label them, its CSINode and its node plugin's pod.
func (l *large) join(i int) {
	name := fmt.Sprintf("worker-%05d.zone-%d.example.com", i, i%3)
	identity := metav1.ObjectMeta{Name: name, UID: uuid.NewUUID(), ResourceVersion: fmt.Sprint(1000000 + i)}
	full := &corev1.Node{ObjectMeta: identity}
	full.Labels = map[string]string{
		corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelHostname: name,
		corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3), corev1.LabelTopologyRegion: "region-1",
		corev1.LabelInstanceTypeStable: "standard-8", "node.example.com/pool": fmt.Sprintf("pool-%d", i%10),
		contract.NodeClassLabel: "containerd",
	}
	full.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", OSImage: "Debian GNU/Linux 13 (trixie)",
		KubeletVersion: "v1.34.1", ContainerRuntimeVersion: "containerd://2.1.4"}
	full.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	l.arrive(TrimNode, full, &corev1.Node{})

	csiNode := &storagev1.CSINode{ObjectMeta: identity}
	csiNode.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: nodeKind, Name: name, UID: identity.UID}}
	csiNode.Spec.Drivers = []storagev1.CSINodeDriver{{Name: "driver", NodeID: name}}
	l.arrive(TrimCSINode, csiNode, &storagev1.CSINode{})

	plugin := &corev1.Pod{ObjectMeta: identity, Spec: corev1.PodSpec{NodeName: name}}
	plugin.Namespace, plugin.Name = "image-csi-system", fmt.Sprintf("node-plugin-%05d", i)
	plugin.Labels = map[string]string{contract.DriverLabel: "driver", contract.NodeClassLabel: "containerd", contract.RevisionLabel: "0123456789",
		"app.kubernetes.io/name": "node-plugin", "controller-revision-hash": "0123456789", "pod-template-generation": "1"}
	plugin.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	l.arrive(TrimPod, plugin, &corev1.Pod{})
}

// live is the memory of what is reachable, in bytes.
func live() uint64 {
	var out runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&out)
	return out.HeapAlloc
}

// What the operator as a whole takes for a node is measured by test/scale; this is the part that is kept here, with the
// informers' stores.
func TestANodeTakesLittleMemory(t *testing.T) {
	const (
		nodes = 5000
		most  = 2400
	)
	l := &large{TB: t, Cache: New(), stores: map[string]cache.Indexer{}}
	before := live()
	for i := range nodes {
		l.join(i)
	}
	open, counts := l.Look("driver", "1", func(Facts) (settled.Kind, bool) { return settled.Kind{Class: "containerd"}, true })
	if len(open) != 0 || counts.In("containerd") != nodes {
		t.Fatalf("%d nodes are looked at, and the counts are %v", len(open), counts)
	}
	perNode := (live() - before) / nodes
	t.Logf("%d bytes for each node", perNode)
	if perNode > most {
		t.Errorf("a node takes %d bytes, more than %d", perNode, most)
	}
	runtime.KeepAlive(l)
}
