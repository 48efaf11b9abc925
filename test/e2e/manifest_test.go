package e2e

import (
	"fmt"
	"strings"
)

// inline is an inline volume of an image.
func inline(image string, readOnly bool) string { return inlineOf(driver, image, readOnly) }

// inlineOf is an inline volume of an image by one of the driver's names.
func inlineOf(driver, image string, readOnly bool) string {
	return fmt.Sprintf("csi: {driver: %s, readOnly: %t, volumeAttributes: {image: %q}}", driver, readOnly, image)
}

// claimed is the volume of a claim.
func claimed(claim string) string { return "persistentVolumeClaim: {claimName: " + claim + "}" }

// onEach names a pod for the node of each class.
func onEach(name string) []string {
	var names []string
	for class := range nodes() {
		names = append(names, name+"-"+class)
	}
	return names
}

// pod is a pod on the node of a class. Its first volume is at /image, the next at /image1, and so on. It has the shortest
// grace period: with none at all, a deleted pod leaves the API server before its volumes are unmounted, and so is not there
// to be waited for, neither by a test nor by a driver that is removed.
func pod(name, class string, volumes ...string) string {
	var mounts, sources strings.Builder
	for i, volume := range volumes {
		path := "/image"
		if i > 0 {
			path += fmt.Sprint(i)
		}
		fmt.Fprintf(&mounts, "{name: image%d, mountPath: %s}, ", i, path)
		fmt.Fprintf(&sources, "    - name: image%d\n      %s\n", i, volume)
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: e2e}}
spec:
  nodeSelector: {imagecsi.dev/node-class: %s}
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: docker.io/library/busybox:1
      command: [sh, -c, "trap 'exit 1' TERM; while :; do sleep 1; done"]
      volumeMounts: [%s]
  volumes:
%s`, name, class, mounts.String(), sources.String())
}

// claim is a ReadOnlyMany volume of an image, and a claim bound to it.
func claim(name, handle, image string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadOnlyMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: default, name: %[1]s}
  csi: {driver: %[4]s, volumeHandle: %[2]q, volumeAttributes: {image: %[3]q}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %[1]s}
spec:
  accessModes: [ReadOnlyMany]
  storageClassName: ""
  volumeName: %[1]s
  resources: {requests: {storage: 1Mi}}
`, name, handle, image, driver)
}
