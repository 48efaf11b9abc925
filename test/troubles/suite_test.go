package troubles

import (
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/clusters"
)

const (
	driver = "container-image.csi.k8s.io"
	// strict is a second driver on the same nodes, with rules.
	strict = "strict.example.com"

	// team is the namespace of a developer, who may view it and nothing else.
	team      = "team"
	developer = "system:serviceaccount:" + team + ":developer"

	soon = 2 * time.Minute
	// late is for what the kubelet tries again after a pause of two minutes at most.
	late = 3 * time.Minute
)

// Images of the tests.
const (
	tools    = "registry.example/troubles/tools:1"
	other    = "registry.example/elsewhere/tools:1" // not allowed by the strict driver
	setuid   = "registry.example/troubles/setuid:1"
	large    = "registry.example/troubles/large:1"
	unsigned = "registry.example/troubles/unsigned:1"
	private  = "private/alice/troubles:1" // in the cluster's own registry, for alice alone
	faulty   = "faulty/503/troubles"      // which the registry does not give out until it is repaired
)

const drivers = `
apiVersion: storage.imagecsi.dev/v1alpha1
kind: ImageCSIDriver
metadata: {name: ` + driver + `}
spec:
  volumes: {maxSizeLimit: 64Mi, sizeLimitFallback: Memory}
  rollout: {canary: {nodeSelector: {kubernetes.io/hostname: n1}}, minReadySeconds: 1, progressDeadlineSeconds: 20}
---
apiVersion: storage.imagecsi.dev/v1alpha1
kind: ImageCSIDriver
metadata: {name: ` + strict + `}
spec:
  volumes: {access: ReadOnly, maxImageSize: 1Mi}
  security: {allowedImages: [registry.example/troubles/], refusedContent: [SetIDFiles]}
  rollout: {minReadySeconds: 1, progressDeadlineSeconds: 20}
`

func TestMain(m *testing.M) {
	cluster.Init()
	os.Exit(m.Run())
}

// signing is a node with CRI-O, which knows signature policies for namespaces. Only pods that name it run there.
const signing = "n3"

// suite is a cluster of three nodes, with two drivers and a developer.
type suite struct{ *clusters.Cluster }

// start brings the cluster up, and installs the operator and the drivers.
func start(t *testing.T) *suite {
	t.Helper()
	s := &suite{clusters.Up(t, cluster.Config{Name: "troubles", Nodes: []cluster.NodeConfig{{Name: "n1"}, {Name: "n2"}, {Name: signing, Runtime: cluster.CRIO}}}, "busybox-static")}
	s.pushImages(t)
	s.Must(t, "cordon", signing)
	s.Install(t)
	s.Apply(t, drivers)
	s.Must(t, "wait", "--for=condition=Available", "--timeout=2m", "imagecsidriver", "--all")
	s.WaitFor(t, soon, "3 3", "get", "imagecsidrivers", "-o", "jsonpath={.items[*].status.nodes.ready}")
	s.Must(t, "create", "namespace", team)
	s.Must(t, "-n", team, "create", "serviceaccount", "developer")
	s.Must(t, "-n", team, "create", "rolebinding", "developer", "--clusterrole=view", "--serviceaccount="+team+":developer")
	return s
}

func (s *suite) pushImages(t *testing.T) {
	t.Helper()
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise) // it never fails
	small := []image.File{{Path: "/hello.txt", Content: []byte("hello\n")}}
	for reference, files := range map[string][]image.File{
		"troubles/tools:1":      small,
		"troubles/unsigned:1":   small,
		"elsewhere/tools:1":     small,
		private:                 small,
		"private/alice/tools:1": small,
		faulty + ":1":           small,
		"troubles/setuid:1":     {{Path: "/su", Content: []byte("#!/bin/sh\n"), Mode: 0o4755}},
		"troubles/large:1":      {{Path: "/noise", Content: noise}},
	} {
		s.push(t, reference, files...)
	}
}

func (s *suite) push(t *testing.T, reference string, files ...image.File) {
	t.Helper()
	data, err := image.Data(files)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), reference, data); err != nil {
		t.Fatal(err)
	}
}
