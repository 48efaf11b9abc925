package main

import (
	"path/filepath"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
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
	if err := generate(t.TempDir(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error")
	}
}
