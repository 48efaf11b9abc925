package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Claim returns why a claim waits, or the pods that wait for its volume.
func Claim(cluster seen.Cluster, namespace, name string) document.Why {
	w := document.Why{Subject: "pvc/" + name, Namespace: namespace, Unread: cluster.Unread}
	at := slices.IndexFunc(cluster.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Namespace == namespace && c.Name == name })
	if at < 0 {
		w.Summary = fmt.Sprintf("There is no claim %s/%s.", namespace, name)
		w.Causes = []document.Cause{{ID: "NoClaim", Cause: w.Summary, Action: document.ActionNeeded, See: seeUse,
			Do: []string{"kubectl -n " + namespace + " get pvc"}}}
		return document.NewWhy(w)
	}
	for i := range cluster.Pods {
		for _, volume := range imagevolumes.Of(cluster, &cluster.Pods[i]) {
			if volume.Namespace != namespace || volume.Claim != name {
				continue
			}
			w.Volumes = append(w.Volumes, volume.Volume)
			if cause, found := causeOf(question{cluster, &cluster.Pods[i], volume}); found {
				w.Causes = append(w.Causes, cause)
			}
		}
	}
	claim := &cluster.Claims[at]
	w.Summary = fmt.Sprintf("Claim %s/%s is %s; %d volumes of pods come from it.", namespace, name, cmp.Or(claim.Status.Phase, "Pending"), len(w.Volumes))
	if claim.Status.Phase != corev1.ClaimBound && len(w.Causes) == 0 {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "POD"}}
		volume := imagevolumes.Volume{Volume: document.Volume{Namespace: namespace, Claim: name}}
		w.Causes = append(w.Causes, unbound(question{cluster, pod, volume}))
	}
	return document.NewWhy(w)
}

// unbound returns why a claim has no volume: the latest of its events that a row knows. Kubernetes' own controller repeats that it waits
// for the provisioner, also after the provisioner's last word.
func unbound(q question) document.Cause {
	var events []*corev1.Event
	for i := range q.cluster.Events {
		e := &q.cluster.Events[i]
		if e.InvolvedObject.Kind == "PersistentVolumeClaim" && e.Namespace == q.pod.Namespace && e.InvolvedObject.Name == q.volume.Claim {
			events = append(events, e)
		}
	}
	slices.SortStableFunc(events, func(a, b *corev1.Event) int { return imagevolumes.When(b).Compare(imagevolumes.When(a)) })
	for _, e := range events {
		for _, r := range claimRows() {
			if strings.Contains(e.Message, r.phrase) {
				return r.fill(q, e.Message)
			}
		}
	}
	said := ""
	if len(events) > 0 {
		said = events[0].Message
	}
	return claimUnbound().fill(q, said)
}

// claimRow is a cause that an event of a claim shows.
type claimRow struct {
	phrase string
	row
}

func claimRows() []claimRow {
	const again = "kubectl -n {ns} delete pvc {claim}   (and create it again with the correction)"
	return []claimRow{
		{"the claim names no image", row{"ClaimNamesNoImage", "claim {claim} names no image", []string{"kubectl -n {ns} annotate pvc {claim} csi.storage.k8s.io/image=REGISTRY/IMAGE:TAG"}, seeUse}},
		{"is not an image reference", row{"ClaimReferenceInvalid", "what claim {claim} names is not an image reference", []string{"kubectl -n {ns} annotate --overwrite pvc {claim} csi.storage.k8s.io/image=REGISTRY/IMAGE:TAG"}, seeUse}},
		{"and an image can be", row{"ClaimAccessMode", "claim {claim} asks for more than an image can be: it is read-only", []string{again, "in the claim: accessModes: [ReadOnlyMany]"}, seeUse}},
		{"storageclass", row{"NoStorageClass", "the storage class of claim {claim} does not exist", []string{"kubectl get storageclass", again}, seeUse}},
		{"waiting for first consumer", row{"NoPodYet", "claim {claim} gets its volume when a pod uses it", []string{"create a pod with the claim"}, seeUse}},
	}
}

func claimUnbound() row {
	return row{"ClaimUnbound", "claim {claim} has no PersistentVolume yet", []string{"kubectl -n {ns} describe pvc {claim}"}, seeUse}
}
