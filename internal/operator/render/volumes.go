package render

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// hostDirectory is a directory of the node that a container sees, or a file.
type hostDirectory struct {
	name        string
	path        string // on the node
	at          string // in the container; empty: at the same path
	kind        corev1.HostPathType
	propagation corev1.MountPropagationMode // empty: None
	readOnly    bool
}

type directories []hostDirectory

// hostDirectories of a class. Each is mounted at its own path, so that a path means the same to the kubelet, the
// runtime and the node plugin.
func hostDirectories(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) directories {
	// Connecting to a socket needs no writable mount, and without one the socket cannot be replaced from the pod.
	runtime := directories{{name: "runtime", path: class.RuntimeDir(), kind: corev1.HostPathDirectory, readOnly: true}}
	if class.Runtime == contract.RuntimeCRIO {
		// CRI-O makes it when it starts.
		runtime = append(runtime, hostDirectory{
			name: "signature-policies", path: contract.CRIOPolicyDir, kind: corev1.HostPathDirectoryOrCreate,
			propagation: corev1.MountPropagationHostToContainer, readOnly: true,
		})
	}
	if class.MountMode == contract.ModeBidirectional {
		return slices.Concat(bidirectionalDirectories(driver, class), storeDirectories(driver, class), runtime)
	}
	out := nsenterDirectories(driver, class)
	if class.Runtime == contract.RuntimeCRIO {
		out = append(out, storeDirectories(driver, class)...)
	}
	return append(out, runtime...)
}

// nsenterDirectories: mounting itself needs no directory of the host, because it happens in the host's namespace.
func nsenterDirectories(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) directories {
	return directories{
		{
			name: "plugin", path: path.Join(class.KubeletRoot, contract.PluginsDir, driver.Name),
			kind: corev1.HostPathDirectoryOrCreate, propagation: corev1.MountPropagationHostToContainer,
		},
		{name: "registration", path: path.Join(class.KubeletRoot, contract.RegistryDir), kind: corev1.HostPathDirectory},
		{name: "host-namespaces", path: "/proc/1/ns", at: contract.HostNamespacePath, kind: corev1.HostPathDirectory, readOnly: true},
	}
}

// bidirectionalDirectories: mounts made in the container reach the kubelet through its shared root directory. That they
// do, the node plugin sees by a second mount of its own directory.
func bidirectionalDirectories(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) directories {
	return directories{
		{name: "kubelet", path: class.KubeletRoot, kind: corev1.HostPathDirectory, propagation: corev1.MountPropagationBidirectional},
		{
			name: "node-view", path: path.Join(class.KubeletRoot, contract.PluginsDir, driver.Name), at: contract.NodeViewPath,
			kind: corev1.HostPathDirectoryOrCreate, propagation: corev1.MountPropagationHostToContainer,
		},
	}
}

// storeDirectories are those of the runtime's images. Who mounts in the container has to see the layers there. CRI-O's library
// works in the node plugin's process in either mode: it locks files and makes the pins' layers, so only the stores that CRI-O
// itself only reads are read-only.
func storeDirectories(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) directories {
	out := directories{
		{name: "storage", path: class.StorageRoot, kind: corev1.HostPathDirectory, propagation: corev1.MountPropagationHostToContainer},
	}
	set := storesOf(driver, class)
	if set.ImageStore != "" { // whose locks have to be written
		out = append(out, hostDirectory{
			name: "image-store", path: string(set.ImageStore), kind: corev1.HostPathDirectory, propagation: corev1.MountPropagationHostToContainer,
		})
	}
	for i, store := range set.AdditionalImageStores {
		out = append(out, hostDirectory{
			name: fmt.Sprintf("additional-store-%d", i), path: string(store), kind: corev1.HostPathDirectory,
			propagation: corev1.MountPropagationHostToContainer, readOnly: true,
		})
	}
	if class.RunRoot != "" {
		// CRI-O mounts every pod's /dev/shm there. A copy that did not go with the pod would keep its memory.
		out = append(out, hostDirectory{
			name: "storage-run", path: class.RunRoot, kind: corev1.HostPathDirectoryOrCreate, propagation: corev1.MountPropagationHostToContainer,
		})
	}
	return out
}

// storesOf returns the directories besides its root in which CRI-O keeps the images of a class, by spec.nodeClasses.
func storesOf(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) v1alpha1.NodeClass {
	for _, in := range driver.Spec.NodeClasses {
		if in.Name == class.Name && class.Runtime == contract.RuntimeCRIO {
			return in
		}
	}
	return v1alpha1.NodeClass{}
}

// split returns the directories as a pod's volumes and its container's mounts.
func (d directories) split() ([]corev1.Volume, []corev1.VolumeMount) {
	volumes := make([]corev1.Volume, 0, len(d))
	mounts := make([]corev1.VolumeMount, 0, len(d))
	for _, directory := range d {
		volumes = append(volumes, directory.volume())
		mounts = append(mounts, directory.mount())
	}
	return volumes, mounts
}

func (d hostDirectory) volume() corev1.Volume {
	return corev1.Volume{Name: d.name, VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: d.path, Type: ptr.To(d.kind)},
	}}
}

func (d hostDirectory) mount() corev1.VolumeMount {
	mount := corev1.VolumeMount{Name: d.name, MountPath: d.path, ReadOnly: d.readOnly}
	if d.at != "" {
		mount.MountPath = d.at
	}
	if d.propagation != "" {
		mount.MountPropagation = ptr.To(d.propagation)
	}
	return mount
}
