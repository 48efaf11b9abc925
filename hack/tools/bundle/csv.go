package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
)

const (
	operatorName       = "image-csi-operator"
	relatedImagePrefix = "RELATED_IMAGE_"

	// gatherAnnotation names the image that "oc adm must-gather --all-images" runs, too.
	gatherAnnotation = "operators.openshift.io/must-gather-image"
)

// complete fills the base of the ClusterServiceVersion with everything that config/ says already.
func complete(root string, in *inputs) error {
	if err := annotate(in); err != nil {
		return err
	}
	icon, err := os.ReadFile(filepath.Join(root, "config", "manifests", "icon.svg"))
	if err != nil {
		return err
	}
	spec := &in.csv.Spec
	spec.Icon = []v1alpha1.Icon{{Data: base64.StdEncoding.EncodeToString(icon), MediaType: "image/svg+xml"}}
	spec.InstallStrategy = strategy(in)
	spec.RelatedImages = relatedImages(in)
	for _, crd := range in.crds {
		spec.CustomResourceDefinitions.Owned = append(spec.CustomResourceDefinitions.Owned, describe(crd)...)
	}
	return nil
}

func annotate(in *inputs) error {
	var examples []any
	for _, example := range in.examples {
		examples = append(examples, example.Object)
	}
	text, err := json.MarshalIndent(examples, "", "  ")
	if err != nil {
		return fmt.Errorf("write the examples: %w", err)
	}
	namespace, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": in.namespace.Name, "labels": in.namespace.Labels, "annotations": in.namespace.Annotations},
	})
	if err != nil {
		return fmt.Errorf("write the namespace: %w", err)
	}
	initial, err := json.Marshal(in.examples[0].Object)
	if err != nil {
		return fmt.Errorf("write the first example: %w", err)
	}
	annotations := in.csv.Annotations
	annotations["alm-examples"] = string(text)
	annotations["containerImage"] = in.deployment.Spec.Template.Spec.Containers[0].Image
	annotations["operatorframework.io/suggested-namespace-template"] = string(namespace)
	annotations["operatorframework.io/initialization-resource"] = string(initial)
	return nil
}

func strategy(in *inputs) v1alpha1.NamedInstallStrategy {
	account := in.deployment.Spec.Template.Spec.ServiceAccountName
	return v1alpha1.NamedInstallStrategy{
		StrategyName: v1alpha1.InstallStrategyNameDeployment,
		StrategySpec: v1alpha1.StrategyDetailsDeployment{
			DeploymentSpecs: []v1alpha1.StrategyDeploymentSpec{{
				Name: in.deployment.Name, Label: in.deployment.Labels, Spec: in.deployment.Spec,
			}},
			ClusterPermissions: []v1alpha1.StrategyDeploymentPermissions{{ServiceAccountName: account, Rules: in.clusterRole.Rules}},
			Permissions:        []v1alpha1.StrategyDeploymentPermissions{{ServiceAccountName: account, Rules: in.role.Rules}},
		},
	}
}

// relatedImages are the operator's image, those that it is told by environment variables, and the one that collects for support.
func relatedImages(in *inputs) []v1alpha1.RelatedImage {
	var out []v1alpha1.RelatedImage
	for _, container := range in.deployment.Spec.Template.Spec.Containers {
		out = append(out, v1alpha1.RelatedImage{Name: container.Name, Image: container.Image})
		for _, variable := range container.Env {
			if name, is := strings.CutPrefix(variable.Name, relatedImagePrefix); is {
				out = append(out, v1alpha1.RelatedImage{
					Name: strings.ToLower(strings.ReplaceAll(name, "_", "-")), Image: variable.Value,
				})
			}
		}
	}
	return append(out, v1alpha1.RelatedImage{Name: "must-gather", Image: in.csv.Annotations[gatherAnnotation]})
}
