package why

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// noPod answers for a pod that does not exist: what should have made it may have been refused.
func noPod(cluster seen.Cluster, w document.Why, name string) document.Why {
	w.Summary = fmt.Sprintf("There is no pod %s/%s.", w.Namespace, name)
	if cluster.Missed(seen.Pods) != "" {
		w.Summary = fmt.Sprintf("You may not read the pods of namespace %s.", w.Namespace)
		return document.NewWhy(w)
	}
	cause := document.Cause{ID: "NoPod", Cause: w.Summary, Action: document.ActionNeeded, Do: []string{"kubectl -n " + w.Namespace + " get pods"}, See: seeUse}
	if made := madeBy(cluster, w.Namespace, name); made != "" {
		cause.Do = []string{"kubectl imagecsi why pod/" + word(made, "NAME") + " -n " + w.Namespace}
	}
	if event := refusal(cluster, w.Namespace, name); event != nil {
		owner := strings.ToLower(event.InvolvedObject.Kind) + "/" + event.InvolvedObject.Name
		cause.ID, cause.Cause = "CreationRefused", fmt.Sprintf("the API server refuses the pods of %s", owner)
		cause.Do, cause.See, cause.Error = []string{"kubectl -n " + w.Namespace + " describe " + word(owner, "KIND/NAME")}, seeWho, event.Message
		switch {
		case strings.Contains(event.Message, "violates PodSecurity"):
			cause.ID, cause.Cause = "PodSecurity", fmt.Sprintf("the Pod Security level of namespace %s does not allow the pods of %s", w.Namespace, owner)
			cause.Do = []string{"change what the error names in the pod's template of " + owner}
		case strings.Contains(event.Message, "image-csi-"):
			cause.ID, cause.Cause = "PolicyRefuses", fmt.Sprintf("a policy for image volumes refuses the pods of %s", owner)
			cause.Do = []string{"change what the error names in the pod's template of " + owner}
		}
	}
	w.Causes = []document.Cause{cause}
	return document.NewWhy(w)
}

// madeBy returns the first pod whose name begins with a name as those of a Deployment's, StatefulSet's or Job's pods do; empty if there is
// none.
func madeBy(cluster seen.Cluster, namespace, owner string) string {
	at := slices.IndexFunc(cluster.Pods, func(p corev1.Pod) bool { return p.Namespace == namespace && strings.HasPrefix(p.Name, owner+"-") })
	if at < 0 {
		return ""
	}
	return cluster.Pods[at].Name
}

// refusal returns the latest event of an object whose pods would have such a name, and that could not create one; nil if there is
// none.
func refusal(cluster seen.Cluster, namespace, pod string) (latest *corev1.Event) {
	for i := range cluster.Events {
		e := &cluster.Events[i]
		owner := e.InvolvedObject.Name
		if e.Reason != "FailedCreate" || e.Namespace != namespace || (!strings.HasPrefix(pod, owner) && !strings.HasPrefix(owner, pod)) {
			continue
		}
		if latest == nil || imagevolumes.When(latest).Before(imagevolumes.When(e)) {
			latest = e
		}
	}
	return latest
}
