package simulatedfleet

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// every is the pause between two steps. A node plugin takes two steps to start.
	every = 30 * time.Millisecond
	// patience is for how long a step waits for the API server.
	patience = 5 * time.Second
)

// Fleet gives every node of a class a pod in the DaemonSet's form, which gets ready unless the test says otherwise, and keeps
// account of what happens on the nodes.
type Fleet struct {
	client    client.Client
	namespace string

	mu sync.Mutex
	// waits says, by image, what keeps a node plugin from getting ready.
	waits map[string]corev1.ContainerStateWaiting
	// refusals say, by image, why the API server takes no pod.
	refusals map[string]string
	// pods by node.
	pods map[string]corev1.Pod
	// made is how many pods a node has had, by node and image.
	made map[string]map[string]int
	// served are the nodes that have had a ready node plugin.
	served map[string]bool
	// mostDown is the largest number of served nodes without a ready node plugin at a time.
	mostDown int
}

// Start plays a fleet for the DaemonSets of a namespace until stop is called. A step that fails, as every one does while the
// API server is away, is told to failed and tried again.
func Start(ctx context.Context, c client.Client, namespace string, failed func(error)) (f *Fleet, stop func()) {
	f = &Fleet{client: c, namespace: namespace, waits: map[string]corev1.ContainerStateWaiting{}, refusals: map[string]string{},
		made: map[string]map[string]int{}, served: map[string]bool{}}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := f.play(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
			time.Sleep(every)
		}
	}()
	return f, func() {
		cancel()
		<-done
	}
}

// Wait keeps node plugins with an image from getting ready; an empty reason lets them.
func (f *Fleet) Wait(image, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits[image] = corev1.ContainerStateWaiting{Reason: reason, Message: message}
}

// Refuse has the API server take no pod with an image, and say why; for an empty reason it takes them again.
func (f *Fleet) Refuse(image, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals[image] = why
}

// Pods returns the pod on each node that has one, by the node's name.
func (f *Fleet) Pods() map[string]corev1.Pod {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.pods)
}

// Made returns how many pods with an image each node has had, by the node's name.
func (f *Fleet) Made(image string) map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for node, made := range f.made {
		out[node] = made[image]
	}
	return out
}

// MostDown returns how many nodes were without a ready node plugin at a time since the last call. A node that has not had one
// yet lacks one, too, but no rollout took it away, so it does not count.
func (f *Fleet) MostDown() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := f.mostDown
	f.mostDown = 0
	return most
}

// note keeps account of the pods that are on the nodes now.
func (f *Fleet) note(on map[string]corev1.Pod, nodes []corev1.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = on
	down := 0
	for _, node := range nodes {
		pod, has := on[node.Name]
		switch {
		case has && Ready(&pod):
			f.served[node.Name] = true
		case f.served[node.Name]:
			down++
		}
	}
	f.mostDown = max(f.mostDown, down)
}
