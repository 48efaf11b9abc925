package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const bundleDir = "../../../bundle"

func TestTheBundleIsValid(t *testing.T) {
	results, err := validate(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		t.Error(result)
	}
}

func TestTheConsoleKnowsEveryField(t *testing.T) {
	bundle, err := manifests.GetBundleFromDir(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, owned := range bundle.CSV.Spec.CustomResourceDefinitions.Owned {
		if len(owned.Resources) == 0 || len(owned.SpecDescriptors) < 20 || len(owned.StatusDescriptors) < 10 {
			t.Errorf("%s: %d resources, %d spec and %d status descriptors", owned.Kind, len(owned.Resources),
				len(owned.SpecDescriptors), len(owned.StatusDescriptors))
		}
		for _, d := range owned.SpecDescriptors {
			if d.DisplayName == "" || d.Description == "" {
				t.Errorf("spec.%s is not described", d.Path)
			}
		}
		for _, d := range owned.StatusDescriptors {
			if d.DisplayName == "" || d.Description == "" {
				t.Errorf("status.%s is not described", d.Path)
			}
		}
	}
}

// OLM installs an operator in one namespace, and so the node plugins with it.
func TestTheBundleIsForOneNamespace(t *testing.T) {
	bundle, err := manifests.GetBundleFromDir(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	deployments := bundle.CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs
	if len(deployments) != 1 {
		t.Fatalf("%d Deployments", len(deployments))
	}
	for _, variable := range deployments[0].Spec.Template.Spec.Containers[0].Env {
		if variable.Name == "NODE_PLUGIN_NAMESPACE" {
			t.Errorf("the node plugins are to run in %s, of which OLM knows nothing", variable.Value)
		}
	}
	for _, permissions := range bundle.CSV.Spec.InstallStrategy.StrategySpec.Permissions {
		if !slices.ContainsFunc(permissions.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "daemonsets") }) {
			t.Errorf("%s gets another role than the operator's: %v", permissions.ServiceAccountName, permissions.Rules)
		}
	}
	for _, object := range bundle.Objects {
		if object.GetKind() == "Role" && object.GetNamespace() != "" {
			t.Errorf("role %s is for namespace %s, and OLM chooses another", object.GetName(), object.GetNamespace())
		}
	}
	template := bundle.CSV.Annotations["operatorframework.io/suggested-namespace-template"]
	if !strings.Contains(template, `"pod-security.kubernetes.io/enforce":"privileged"`) {
		t.Errorf("node plugins are not admitted in the suggested namespace: %s", template)
	}
}

// OpenShift takes what collects for support from the annotation, and mirrors of catalogs take images from the list.
func TestTheBundleNamesTheMustGatherImage(t *testing.T) {
	bundle, err := manifests.GetBundleFromDir(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	image := bundle.CSV.Annotations["operators.openshift.io/must-gather-image"]
	if !strings.Contains(image, "/image-csi-operator-must-gather:v"+bundle.CSV.Spec.Version.String()) {
		t.Errorf("the annotation names %q", image)
	}
	if want := (v1alpha1.RelatedImage{Name: "must-gather", Image: image}); !slices.Contains(bundle.CSV.Spec.RelatedImages, want) {
		t.Errorf("the images are %v, want %v among them", bundle.CSV.Spec.RelatedImages, want)
	}
}

func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"maxParallelPulls": "Max Parallel Pulls", "ImageCSIDriver": "Image CSI Driver", "osImageContains": "Os Image Contains", "spec": "Spec",
	} {
		if got := words(name); got != want {
			t.Errorf("words(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestAFileThatIsNotThereIsAnError(t *testing.T) {
	if err := generate(t.TempDir(), filepath.Join(t.TempDir(), "none"), "1.2.3"); err == nil {
		t.Error("no error")
	}
}
