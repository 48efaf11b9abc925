package troubles

import (
	"fmt"
	"strings"
)

// volume is an inline volume of the default driver. More are fields of its csi section, such as "readOnly: true".
func volume(image string, more ...string) string { return volumeOf(driver, image, more...) }

// volumeOf is an inline volume of a driver.
func volumeOf(driver, image string, more ...string) string {
	return withAttributes(driver, "image: "+image, more...)
}

// withAttributes is an inline volume with attributes as they stand.
func withAttributes(driver, attributes string, more ...string) string {
	return fmt.Sprintf("csi: {%s}", strings.Join(append([]string{"driver: " + driver, "volumeAttributes: {" + attributes + "}"}, more...), ", "))
}

// claimed is the volume of a claim.
func claimed(claim string) string {
	return "persistentVolumeClaim: {claimName: " + claim + ", readOnly: true}"
}

// idle is what a container does that is there for its volume.
const idle = "trap 'exit 1' TERM; while :; do sleep 1; done"

// spec is that of a pod with a volume at /image, with more of its fields.
func spec(volume, script string, fields ...string) string {
	return strings.Join(append([]string{
		"terminationGracePeriodSeconds: 1",
		fmt.Sprintf("containers: [{name: main, image: 'docker.io/library/busybox:1', command: [sh, -c, %q], volumeMounts: [{name: image, mountPath: /image}]}]", script),
		"volumes: [{name: image, " + volume + "}]",
	}, fields...), ", ")
}

// pod is a pod of the developer's.
func pod(name, volume string, fields ...string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s}, spec: {%s}}", name, team, spec(volume, idle, fields...))
}

// deployment is one of the developer's, of one pod.
func deployment(name, namespace, volume, script string, fields ...string) string {
	return fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {name: %[1]s, namespace: %[2]s}, spec: {selector: {matchLabels: {app: %[1]s}}, "+
		"template: {metadata: {labels: {app: %[1]s}}, spec: {%[3]s}}}}", name, namespace, spec(volume, script, fields...))
}

// claim is a claim of the developer's. More are its metadata and fields of its spec.
func claim(name, metadata, class string, fields ...string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: %s, namespace: %s%s}, spec: {%s}}", name, team, metadata,
		strings.Join(append([]string{"accessModes: [ReadOnlyMany]", "resources: {requests: {storage: 1Mi}}", "storageClassName: " + class}, fields...), ", "))
}

// persistentVolume is the volume of a claim, with attributes.
func persistentVolume(name, attributes string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: PersistentVolume, metadata: {name: %[1]s}, spec: {capacity: {storage: 1Mi}, accessModes: [ReadOnlyMany], storageClassName: '', "+
		"claimRef: {namespace: %[2]s, name: %[1]s}, csi: {driver: %[3]s, volumeHandle: '%[4]s#%[1]s', volumeAttributes: {%[5]s}}}}", name, team, driver, tools, attributes)
}

// on has a pod run on a node.
func on(node string) string { return "nodeSelector: {kubernetes.io/hostname: " + node + "}" }
