package why

import (
	"cmp"
	"regexp"
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

// fill returns the cause with the names of the question in it.
func (r row) fill(q question, said string) document.Cause {
	c := document.Cause{ID: r.id, Volume: q.volume.Name, Cause: q.names(cmp.Or[string]).Replace(r.cause), Action: document.ActionNeeded, See: r.see, Error: said}
	switch r.id {
	case "StillPulling", "RolloutUnderWay": // They end by themselves.
		c.Action = document.ActionNone
	}
	words := q.names(word)
	for _, do := range r.do {
		c.Do = append(c.Do, words.Replace(do))
	}
	return c
}

// plainWord is what a shell takes as it stands, and no program as an option.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)

// word returns one of two texts as a word of a command that people copy. Whoever makes a pod chooses the image, the secret's name and
// the owner that it claims to have, and so could choose what others run: what is no plain word has a placeholder.
func word(texts ...string) string {
	text, placeholder := texts[0], texts[1]
	if plainWord.MatchString(text) {
		return text
	}
	return placeholder
}

// names puts names into texts. Shown returns how a name, or a placeholder, is shown.
func (q question) names(shown func(nameAndPlaceholder ...string) string) *strings.Replacer {
	return strings.NewReplacer(
		"{ns}", q.pod.Namespace, "{pod}", q.pod.Name, "{volume}", q.volume.Name,
		"{node}", shown(q.pod.Spec.NodeName, "NODE"),
		"{image}", shown(q.volume.Image, "IMAGE"),
		"{registry}", shown(registryOf(q.volume.Image), "REGISTRY"),
		"{secret}", shown(q.volume.Secret, "SECRET"),
		"{claim}", shown(q.volume.Claim, "CLAIM"),
		"{driver}", shown(q.volume.Driver, "DRIVER"),
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
		return "kubectl get pv " + word(q.volume.Event, "VOLUME") + " -o yaml   (a PersistentVolume's source cannot be changed: delete claim " +
			word(q.volume.Claim, "CLAIM") + " and volume, and create both again)"
	}
	for _, owner := range q.pod.OwnerReferences {
		name := word(owner.Name, "NAME")
		switch kind := strings.ToLower(owner.Kind); kind {
		case "replicaset":
			if hash := q.pod.Labels["pod-template-hash"]; hash != "" {
				return "kubectl -n " + q.pod.Namespace + " edit deployment/" + strings.TrimSuffix(name, "-"+hash)
			}
			return "kubectl -n " + q.pod.Namespace + " edit replicaset/" + name
		case "statefulset", "daemonset":
			return "kubectl -n " + q.pod.Namespace + " edit " + kind + "/" + name
		case "job":
			return "kubectl -n " + q.pod.Namespace + " delete job/" + name + "   (and create it again with the correction)"
		}
	}
	return "kubectl -n " + q.pod.Namespace + " delete pod " + q.pod.Name + "   (and create it again with the correction: a pod's volumes cannot be changed)"
}
