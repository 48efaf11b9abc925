package e2e

import "fmt"

// inline is an inline volume of an image.
func inline(image string, readOnly bool) string {
	return fmt.Sprintf("csi: {driver: %s, readOnly: %t, volumeAttributes: {image: %q}}", driver, readOnly, image)
}

// pod is a pod on the node of a class, with one volume at /image.
func pod(name, class, volume string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: e2e}}
spec:
  nodeSelector: {imagecsi.dev/node-class: %s}
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: docker.io/library/busybox:1
      command: [sh, -c, "trap 'exit 1' TERM; while :; do sleep 1; done"]
      volumeMounts: [{name: image, mountPath: /image}]
  volumes:
    - name: image
      %s
`, name, class, volume)
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
