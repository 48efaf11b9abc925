package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Sightings are what one operator remembers of node plugins, by the UIDs of their pods.
//
// How long something has been so is measured by one clock, the operator's, from when it first saw it. A pod's and a
// node's own times come from the API server's and the kubelets' clocks, and any of them may be minutes off: they tell
// that something turned, not how long ago. An operator that starts measures anew.
type Sightings map[types.UID]Sighting

// Sighting is the state in which an operator has seen a node plugin.
type Sighting struct {
	// serves says that the pod is ready and its node's kubelet has registered the driver.
	serves bool
	// turned and back are the times, in seconds and by other clocks, at which the pod's readiness and the node's reports
	// last changed: they tell apart two states that look the same.
	turned, back int64
	// since is when the operator first saw it so.
	since time.Time
}

// look returns the earlier sighting of a pod if nothing has changed since, or else the present one.
func (s Sightings) look(pod types.UID, now Sighting) *Sighting {
	earlier, has := s[pod]
	if has && earlier.serves == now.serves && earlier.turned == now.turned && earlier.back == now.back {
		return &earlier
	}
	return &now
}
