package doctor

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// oldest is the oldest Kubernetes release that is supported.
const oldest = "1.31.0"

// pluginNamespace is where the node plugins are unless an installation chose another.
const pluginNamespace = "image-csi-system"

// imagesPolicy is the policy of config/admission that refuses images: status.ImagesPolicy, whose package is for Linux only.
const imagesPolicy = "image-csi-volume-images"

// enforceLabel is the label of a namespace that has its Pod Security level (Kubernetes documentation, "Pod Security Admission").
const enforceLabel = "pod-security.kubernetes.io/enforce"

func kubernetesVersion(cluster seen.Cluster) finding {
	found, err := version.ParseGeneric(cluster.Version)
	if err != nil {
		return finding{document.CheckWarning, fmt.Sprintf("the API server's version %q cannot be read", cluster.Version), nil}
	}
	if found.LessThan(version.MustParseGeneric(oldest)) {
		return finding{document.CheckError, fmt.Sprintf("Kubernetes %s is older than %s", cluster.Version, oldest), []string{"upgrade the cluster"}}
	}
	return passed("Kubernetes " + cluster.Version)
}

// podSecurity checks the namespace of the node plugins, whose pods no level but privileged allows.
func podSecurity(cluster seen.Cluster) finding {
	name := pluginNamespace
	for _, set := range cluster.DaemonSets {
		if set.Driver != "" {
			name = set.Namespace
		}
	}
	at := slices.IndexFunc(cluster.Namespaces, func(n corev1.Namespace) bool { return n.Name == name })
	if at < 0 {
		return passed("namespace " + name + " does not exist yet; an installation creates it with the Pod Security level that it needs")
	}
	do := []string{"kubectl label --overwrite namespace " + name + " " + enforceLabel + "=privileged"}
	switch level := cluster.Namespaces[at].Labels[enforceLabel]; level {
	case "privileged":
	case "":
		return finding{document.CheckWarning, "namespace " + name + " has no Pod Security level; where the cluster's default is not privileged, node plugins are refused there", do}
	default:
		return finding{document.CheckError, fmt.Sprintf("the Pod Security level of namespace %s is %s, and node plugins need privileged", name, level), do}
	}
	return passed("namespace " + name + " allows node plugins (Pod Security level privileged)")
}

func operatorInstalled(cluster seen.Cluster) finding {
	switch {
	case cluster.Missed(seen.Drivers) == seen.NotServed:
		return finding{document.CheckError, "the operator is not installed: this cluster has no ImageCSIDrivers", []string{"kubectl apply --server-side -k config/default"}}
	case len(cluster.Drivers) == 0:
		return finding{document.CheckError, "there is no ImageCSIDriver", []string{"kubectl apply -f config/samples/storage_v1alpha1_imagecsidriver.yaml"}}
	default:
		return passed(count(len(cluster.Drivers), "ImageCSIDriver"))
	}
}

// policies checks the policy by which the API server refuses images before a node does.
func policies(cluster seen.Cluster) finding {
	if slices.Contains(cluster.Policies, imagesPolicy) && slices.Contains(cluster.Bindings, imagesPolicy) {
		return passed("the admission policies are in effect")
	}
	return finding{document.CheckWarning, "the admission policies are not in effect: nobody is told of a forbidden image before the node refuses it, and " +
		"who may edit an ImageCSIDriver may raise its privileges", []string{"kubectl apply --server-side -k config/admission"}}
}
