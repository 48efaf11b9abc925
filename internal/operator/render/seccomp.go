package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// seccompProfile has the Security Profiles Operator put the node plugin's own profile on every node. Its name has the
// profile's hash: a later profile is another file, and node plugins with the earlier one go on.
func seccompProfile(driver *v1alpha1.ImageCSIDriver) *unstructured.Unstructured {
	profile := security.Profile()
	sum := sha256.Sum256(fmt.Append(nil, profile)) // Package fmt prints maps in the order of their keys.
	object := SeccompProfile().object(driver, "", bounded(driver.Name+"-nsenter-"+hex.EncodeToString(sum[:])[:hashDigits]))
	object.Object["spec"] = profile
	return object
}

// seccomp returns the seccomp profile that the node plugins of mode Nsenter get.
func seccomp(in Input) security.Seccomp {
	if !wantsProfile(in) {
		return security.Seccomp{}
	}
	object := seccompProfile(in.Driver)
	out := security.Seccomp{Profile: object.GetName()}
	switch {
	case slices.Contains(in.Unclear, SeccompProfile()):
		out.File = profileInUse(in.Existing, out.Profile)
		return out
	case !slices.Contains(in.Kinds, SeccompProfile()):
		out.Missing = true
		return out
	}
	live, _ := Find(in.Existing, object).(*unstructured.Unstructured)
	out.State, out.Message = profileState(live)
	switch out.State {
	case security.SeccompInstalled:
		out.File = file(live)
	case "", security.SeccompPending, security.SeccompInProgress:
		// A node that joined waits for its file. The others have it.
		out.File = profileInUse(in.Existing, out.Profile)
	}
	return out
}

// wantsProfile reports whether any node plugin should have the profile.
func wantsProfile(in Input) bool {
	return in.Driver.Spec.NodePlugin.SeccompProfile == v1alpha1.SeccompNarrow &&
		slices.ContainsFunc(in.Classes, func(class nodeclass.Class) bool {
			return class.MountMode == contract.ModeNsenter && class.Confinement.SeccompProfile == nil
		})
}

// profileState returns a profile's state by the Security Profiles Operator, which is the lowest of all nodes, and why.
func profileState(profile *unstructured.Unstructured) (state, message string) {
	if profile == nil {
		return "", ""
	}
	if !profile.GetDeletionTimestamp().IsZero() {
		return security.SeccompTerminating, ""
	}
	state, _, _ = unstructured.NestedString(profile.Object, "status", "status")
	conditions, _, _ := unstructured.NestedSlice(profile.Object, "status", "conditions")
	for _, condition := range conditions {
		if fields, is := condition.(map[string]any); is && fields["type"] == "Ready" {
			message, _ = fields["message"].(string)
		}
	}
	return state, message
}

// file is what a container names to get a profile: a path below the kubelet's directory for them.
func file(profile *unstructured.Unstructured) string {
	path, _, _ := unstructured.NestedString(profile.Object, "status", "localhostProfile")
	return path
}

// profileInUse returns the file of a profile if a DaemonSet names it.
func profileInUse(objects []Object, profile string) string {
	for _, pod := range podTemplates(objects) {
		for _, path := range localhostProfiles(pod) {
			if strings.Contains(path, profile) {
				return path
			}
		}
	}
	return ""
}

func localhostProfiles(pod corev1.PodSpec) []string {
	var out []string
	for _, container := range pod.Containers {
		if context := container.SecurityContext; context != nil && context.SeccompProfile != nil && context.SeccompProfile.LocalhostProfile != nil {
			out = append(out, *context.SeccompProfile.LocalhostProfile)
		}
	}
	return out
}

// isReferenced reports whether an object is a profile that node plugins have, or may get again: until a rollout is complete,
// it may be rolled back to the previous profile.
func isReferenced(object Object, in Input) bool {
	profile, is := object.(*unstructured.Unstructured)
	if !is || profile.GetKind() != SeccompProfile().Kind || file(profile) == "" {
		return false
	}
	names := func(pod corev1.PodSpec) bool { return slices.Contains(localhostProfiles(pod), file(profile)) }
	return slices.ContainsFunc(podTemplates(in.Existing), names) ||
		slices.ContainsFunc(in.Existing, func(object Object) bool {
			// What a rollout that fails rolls back to.
			daemonSet, is := object.(*appsv1.DaemonSet)
			return is && strings.Contains(daemonSet.Annotations[contract.RolloutAnnotation], file(profile))
		})
}

// fieldOf returns the field of a container for a file; without one, the runtime's own profile.
func fieldOf(file string) *corev1.SeccompProfile {
	if file == "" {
		return security.RuntimeDefault()
	}
	return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To(file)}
}
