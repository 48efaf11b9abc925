package why

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// question is one volume of a pod that waits, and what is known beside.
type question struct {
	cluster seen.Cluster
	pod     *corev1.Pod
	volume  imagevolumes.Volume
}

// driver is the ImageCSIDriver of the volume; nil if there is none, or the caller may not read it.
func (q question) driver() *v1alpha1.ImageCSIDriver { return q.cluster.DriverOf(q.volume.Driver) }

// row is a kind of cause: what is the matter, what to do, and where there is more. In its texts {name} stands for what is seen.
type row struct {
	id    string
	cause string
	do    []string
	see   string
}

// passing are the causes that end by themselves.
var passing = []string{"StillPulling", "RolloutUnderWay"} //nolint:gochecknoglobals // a table that nothing changes

// fill returns the cause with the names of the question in it.
func (r row) fill(q question, said string) document.Cause {
	names := q.names()
	c := document.Cause{ID: r.id, Volume: q.volume.Name, Cause: names.Replace(r.cause), Action: document.ActionNeeded, See: r.see, Error: said}
	if slices.Contains(passing, r.id) {
		c.Action = document.ActionNone
	}
	for _, do := range r.do {
		c.Do = append(c.Do, names.Replace(do))
	}
	return c
}

// names puts names into texts.
func (q question) names() *strings.Replacer {
	or := func(text, other string) string {
		if text == "" {
			return other
		}
		return text
	}
	return strings.NewReplacer(
		"{ns}", q.pod.Namespace, "{pod}", q.pod.Name, "{volume}", q.volume.Name,
		"{node}", or(q.pod.Spec.NodeName, "NODE"),
		"{image}", or(q.volume.Image, "IMAGE"),
		"{registry}", registryOf(q.volume.Image),
		"{secret}", or(q.volume.Secret, "SECRET"),
		"{claim}", or(q.volume.Claim, "CLAIM"),
		"{driver}", or(q.volume.Driver, "DRIVER"),
		"{change}", q.change(),
	)
}

// registryOf returns the registry in an image's name, by the rule of Docker's references.
func registryOf(image string) string {
	first, _, found := strings.Cut(image, "/")
	if !found || (!strings.ContainsAny(first, ".:") && first != "localhost") {
		return "docker.io"
	}
	return first
}

// change returns the command by which the volume's manifest is changed.
func (q question) change() string {
	if q.volume.Claim != "" {
		return "kubectl get pv " + q.volume.Event + " -o yaml   (a PersistentVolume's source cannot be changed: delete claim " + q.volume.Claim + " and volume, and create both again)"
	}
	for _, owner := range q.pod.OwnerReferences {
		switch kind := strings.ToLower(owner.Kind); kind {
		case "replicaset":
			if hash := q.pod.Labels["pod-template-hash"]; hash != "" {
				return "kubectl -n " + q.pod.Namespace + " edit deployment/" + strings.TrimSuffix(owner.Name, "-"+hash)
			}
			return "kubectl -n " + q.pod.Namespace + " edit replicaset/" + owner.Name
		case "statefulset", "daemonset":
			return "kubectl -n " + q.pod.Namespace + " edit " + kind + "/" + owner.Name
		case "job":
			return "kubectl -n " + q.pod.Namespace + " delete job/" + owner.Name + "   (and create it again with the correction)"
		}
	}
	return "kubectl -n " + q.pod.Namespace + " delete pod " + q.pod.Name + "   (and create it again with the correction: a pod's volumes cannot be changed)"
}
