package why

import "strings"

// Pages with more.
const (
	seeFails    = "docs/node-plugin.md#when-something-fails"
	seePublish  = "docs/node-plugin.md#publish"
	seeUsers    = "docs/node-plugin.md#pods-with-their-own-users"
	seeUse      = "README.md#use-it"
	seeProblems = "docs/operator.md#problems-of-nodes"
	seePulls    = "docs/runbooks.md#imagecsipullsfailing"
	seeNode     = "docs/runbooks.md#imagecsipublishfailing"
	seeWho      = "docs/operator.md#who-may-do-what"
)

// Steps that several causes share.
const (
	createSecret = "kubectl -n {ns} create secret docker-registry {secret} --docker-server={registry} --docker-username=USER --docker-password=PASSWORD" //nolint:gosec // a command for the reader, no credential
	nameSecret   = "in the volume's csi section: nodePublishSecretRef: {name: {secret}}"
	askAdmin     = "kubectl imagecsi status   (or ask who administers the cluster)"
	edit         = "{change}"
	plugin       = "kubectl get pods -A -l imagecsi.dev/driver --field-selector spec.nodeName={node}   (the node plugin there; its log has more)"
)

// errorRow is a cause that an error of a mount shows: the error holds one of its phrases.
type errorRow struct {
	row
	phrases []string
	// others is whose words the phrases are, if they are not the node plugin's.
	others string
}

// kubelet says these things itself.
const kubelet = "the kubelet"

// errorRows are tried in this order: an error about a form also names the attribute.
func errorRows() []errorRow {
	return []errorRow{
		{row{"SecretMissing", "secret {ns}/{secret}, which the volume names in nodePublishSecretRef, does not exist", []string{createSecret}, seeUse},
			[]string{"failed to find the secret", "fetching NodePublishSecretRef"}, kubelet},
		{row{"SecretBroken", "secret {ns}/{secret} is no registry credential that can be used", []string{"kubectl -n {ns} delete secret {secret}", createSecret}, seeUse},
			[]string{"has neither the key", "is not a Docker configuration in JSON", "has an unusable entry for registry"}, ""},
		{row{"NoImage", "the volume names no image", []string{edit, "in the volume's csi section: volumeAttributes: {image: registry.example/team/app:1.0}"}, seeUse},
			[]string{"the volume names no image"}, ""},
		{row{"ReferenceInvalid", "{image} is not an image reference; one looks like registry.example/team/app:1.0, in small letters", []string{edit}, seeUse},
			[]string{"is not an image reference", "the image reference"}, ""},
		{row{"OnlyReadOnly", "driver {driver} serves read-only volumes only", []string{edit, "in the volume's csi section: readOnly: true"}, seeUse},
			[]string{"the driver serves read-only volumes only"}, ""},
		{row{"AccessMode", "the PersistentVolume asks for more than an image can be: it is read-only", []string{edit, "in the PersistentVolume and the claim: accessModes: [ReadOnlyMany]"}, seeUse},
			[]string{"AccessMode of PV can be only", "an image cannot be a block volume"}, ""},
		{row{"MountOptions", "the PersistentVolume has mount options that an image volume does not take", []string{"kubectl get pv -o yaml   (mountOptions; the error names them)", edit}, "docs/node-plugin.md#what-holds-in-a-pod"},
			[]string{"would not hold in a pod", "cannot be given to a writable image volume", "cannot be given to an image volume"}, ""},
		{row{"PinningRequired", "the administrator of driver {driver} wants images named by digest", []string{edit, "name the image as REPOSITORY@sha256:…"}, seeWho},
			[]string{"name it by digest"}, ""},
		{row{"ContentRefused", "the image holds files that the driver's rules refuse (spec.security.refusedContent)", []string{"build the image without them; the error names the first"}, seeWho},
			[]string{"the driver's rules refuse it"}, ""},
		{row{"ImageNotAllowed", "the driver's rules (spec.security.allowedImages) do not allow {image}", []string{"kubectl get imagecsidriver {driver} -o jsonpath='{.spec.security}'   (what is allowed)", edit}, seeWho},
			[]string{"the driver's rules do not allow it"}, ""},
		{row{"ImageNotPresent", "{image} is not on node {node}, and pullPolicy is Never", []string{edit, "in volumeAttributes: pullPolicy: IfNotPresent, or bring the image to the node"}, seePublish},
			[]string{"is not on this node and pullPolicy is Never"}, ""},
		{row{"AccessUnproven", "{image} is on node {node}, but nothing shows that this volume may have it, and pullPolicy Never forbids to ask the registry", []string{edit, "in volumeAttributes: pullPolicy: IfNotPresent"}, seePublish},
			[]string{"have not opened it here before"}, ""},
		{row{"ImageUntrusted", "the policy for images of node {node} refuses {image}", []string{"use an image that the policy allows, such as a signed one"}, seePublish},
			[]string{"is not trusted: this node's policy"}, ""},
		{row{"ImageNotFound", "the registry {registry} has no image {image}; the name or the tag is wrong, or it is private and the registry does not say so", []string{edit}, seePulls},
			[]string{"does not exist in its registry"}, ""},
		{row{"RateLimited", "the registry {registry} limits the rate of pulls", []string{createSecret, nameSecret}, seePulls},
			[]string{"limits the rate of pulls"}, ""},
		{row{"OtherPlatform", "{image} is not built for the operating system and architecture of node {node}", []string{"push the image for that platform, or keep the pod off such nodes by nodeSelector: {kubernetes.io/arch: …}"}, seePublish},
			[]string{"but not for this node's operating system and architecture", "image is not for this node's operating system and architecture"}, ""},
		{row{"ImageDamaged", "what the registry holds as {image} is damaged, or is no container image", []string{"build and push the image again"}, seePulls},
			[]string{"gives out a corrupt image", "cannot be unpacked"}, ""},
		{row{"ImageUnsupported", "node {node} cannot show an image of this form", []string{"build the image again and push it as an OCI image; the error has more"}, seePublish},
			[]string{"container runtime does not support image", "image cannot be mounted", "too many layers", "mount options are too long for this kernel", "cannot stack EROFS images", "no sound EROFS image", "bad layer"}, ""},
		{row{"ImageTooLarge", "{image} is larger than the driver's limit (spec.volumes.maxImageSize)", []string{"use a smaller image, or ask who administers the driver to raise the limit"}, seePublish},
			[]string{"larger than this driver's limit", "and this driver's limit is"}, ""},
		{row{"StillPulling", "node {node} is pulling {image}; no action needed", []string{"kubectl -n {ns} get events --field-selector involvedObject.name={pod} --watch"}, seePublish},
			[]string{"is being pulled; the kubelet will try again", "the next try starts it again", "the next try waits", "another call is at work on this volume"}, ""},
		{row{"RuntimeDown", "the container runtime of node {node} does not answer", []string{"on the node: systemctl status containerd   (or crio)", askAdmin}, seeNode},
			[]string{"the container runtime did not answer", "the container runtime ended the pull", "has not answered yet"}, ""},
		{row{"RegistryUnreachable", "node {node} cannot reach the registry {registry}, or it fails", []string{"kubectl debug node/{node} -it --image=busybox -- wget -S -O /dev/null https://{registry}/v2/", askAdmin}, seePulls},
			[]string{"cannot be reached from this node", "fails to give it out"}, ""},
		{row{"DiskFull", "a file system of node {node} is full", []string{"kubectl describe node {node}   (condition DiskPressure)", "remove unused images and logs there, or move the pod to another node"}, seeNode},
			[]string{"this node has no space left for image", "is full; make room there", "no space left on device", "disk quota exceeded"}, ""},
		{row{"NotMappable", "node {node} cannot show {image} in the form IDMappable, which a pod with hostUsers: false needs", []string{edit, "remove hostUsers: false and the attribute form, or choose another node"}, seeUsers},
			[]string{"cannot show the image in the form IDMappable"}, ""},
		{row{"NoSizeLimit", "node {node} cannot limit the size of a volume: its file system has no project quotas", []string{edit, "remove sizeLimit, or ask who administers the driver to set spec.volumes.sizeLimitFallback: Memory"}, seeUse},
			[]string{"its size cannot be limited on this node", "larger than this file system's quotas can hold"}, ""},
		{row{"AttributeInvalid", "a volume attribute has a value that the driver does not take", []string{edit}, seeUse},
			[]string{"volume attribute ", "the volume attributes have"}, ""},
		{row{"ImageChanged", "the pod has written to an earlier version of {image}, and its volume cannot follow the new one", []string{"kubectl -n {ns} delete pod {pod}   (what it wrote to the volume is lost)"}, seeFails},
			[]string{"the volume holds data that belongs to another version of the image"}, ""},
		{row{"TargetOccupied", "something else is mounted, or lies, where the volume should be", []string{"kubectl -n {ns} delete pod {pod}", plugin}, seeFails},
			[]string{"the target carries another mount", "the directory holds files, and nothing is mounted on it", "is published already with other access", "the mount is in use"}, ""},
		{row{"AccessDenied", "the registry {registry} does not give {image} to this volume", nil, seePublish},
			[]string{"the registry refuses to give out image", "but the registry does not give it to this volume"}, ""},
		{row{"PullFailed", "{image} could not be pulled; the error has the runtime's words", []string{plugin}, seePulls},
			[]string{"could not be pulled"}, ""},
		{row{"NodePluginAway", "the node plugin of node {node} does not answer; it may be starting", []string{askAdmin, plugin}, seeProblems},
			[]string{"connection refused", "csi.sock", "error reading from server"}, kubelet},
		{row{"DriverAbsent", "no node plugin serves {driver} on node {node}", []string{askAdmin}, seeProblems},
			[]string{"not found in the list of registered CSI drivers"}, kubelet},
	}
}

// ofError returns the row of an error, and whether there is one.
func ofError(said string) (errorRow, bool) {
	for _, r := range errorRows() {
		for _, phrase := range r.phrases {
			if strings.Contains(said, phrase) {
				return r, true
			}
		}
	}
	return errorRow{}, false
}
