package uninstall

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// operators are one step for each Deployment of the operator; more than one is a fault of somebody's, and each has its commands.
func operators(cluster seen.Cluster) (steps []document.UninstallStep) {
	if step, missing := unread(cluster, document.UninstallOperator, seen.Operators); missing {
		return []document.UninstallStep{step}
	}
	if len(cluster.Operators) == 0 {
		return []document.UninstallStep{{ID: document.UninstallOperator, State: document.StepDone, Message: "there is no Deployment of the operator"}}
	}
	for _, o := range cluster.Operators {
		step := document.UninstallStep{ID: document.UninstallOperator, State: document.StepToDo, Objects: []string{"deployment/" + o.Name}}
		step.Message, step.Commands = removal(o)
		if len(cluster.Drivers) > 0 {
			step.State = document.StepBlocked
			step.Message += "; not before the drivers are gone"
		}
		steps = append(steps, step)
	}
	return steps
}

// removal returns the commands that remove an operator, and what they are.
func removal(o seen.Operator) (message string, commands []string) {
	switch {
	case o.Extension != "":
		return "the operator in namespace " + o.Namespace + " is of ClusterExtension " + o.Extension + " (OLM v1)",
			[]string{"kubectl delete clusterextension " + o.Extension, deletePolicies}
	case o.CSV != "":
		return "the operator in namespace " + o.Namespace + " is of ClusterServiceVersion " + o.CSV + " (OLM); run the commands with a directory in the release's", olm(o)
	case o.Release != "":
		return "the operator in namespace " + o.Namespace + " is of Helm release " + o.Release,
			[]string{fmt.Sprintf("helm uninstall %s --namespace %s", o.Release, cmp.Or(o.ReleaseNamespace, o.Namespace))}
	default:
		return "the operator in namespace " + o.Namespace + " was applied from manifests; run the one command that has what was applied, in the release's directory",
			[]string{"kubectl delete --ignore-not-found -k config/mutation   (if it was applied)", "kubectl delete -f install.yaml", "kubectl delete -k config/default   (or your own kustomization, in place of install.yaml)"}
	}
}

const deletePolicies = "kubectl delete --ignore-not-found -k config/admission"

// olm are the commands of docs/install/olm.md. What OLM's catalog and operator group are called, people chose.
func olm(o seen.Operator) []string {
	commands := []string{}
	for _, name := range o.Subscriptions {
		commands = append(commands, fmt.Sprintf("kubectl -n %s delete subscription %s", o.Namespace, name))
	}
	return append(commands,
		fmt.Sprintf("kubectl -n %s delete clusterserviceversion %s", o.Namespace, o.CSV),
		"kubectl delete --ignore-not-found -k config/olm",
		"kubectl delete customresourcedefinition imagecsidrivers.storage.imagecsi.dev",
		"kubectl delete --ignore-not-found clusterrole image-csi-viewer",
		deletePolicies)
}

// remains are the namespaces, which may hold secrets and other things of people.
func remains(cluster seen.Cluster) document.UninstallStep {
	names := namespacesOf(cluster)
	step := document.UninstallStep{ID: document.UninstallNamespaces, State: document.StepDone, Message: "no namespace is known to be left"}
	if len(names) == 0 {
		return step
	}
	step.State, step.Commands = document.StepToDo, []string{"kubectl get secrets,configmaps,pods -n " + names[0], "kubectl delete --ignore-not-found namespace " + strings.Join(names, " ")}
	step.Message = "what is left in these namespaces after that, as your secrets with registry credentials, goes with them; look before you delete"
	for _, name := range names {
		step.Objects = append(step.Objects, "namespace/"+name)
	}
	return step
}

// namespacesOf are those of operators and node plugins that are not Kubernetes' own or shared by default.
func namespacesOf(cluster seen.Cluster) (names []string) {
	add := func(name string) {
		if !slices.Contains(names, name) && name != "default" && !strings.HasPrefix(name, "kube-") && !strings.HasPrefix(name, "openshift-") && name != "operators" {
			names = append(names, name)
		}
	}
	for _, o := range cluster.Operators {
		for i := range cluster.Namespaces {
			if n := &cluster.Namespaces[i]; n.Annotations[operatorNamespace] == o.Namespace {
				add(n.Name)
			}
		}
	}
	for _, set := range cluster.DaemonSets {
		if set.Driver != "" {
			add(set.Namespace)
		}
	}
	for _, o := range cluster.Operators {
		add(o.Namespace)
	}
	return names
}

// operatorNamespace is the annotation of the node plugins' namespace that names the operator's.
const operatorNamespace = "imagecsi.dev/operator-namespace"
