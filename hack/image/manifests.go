package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"
)

// kustomizations are those that people apply, and what they are made of. The others are for tools.
var kustomizations = []string{"admission", "crd", "dashboard", "default", "manager", "monitoring", "mutation", "network", "olm", "rbac", "samples", "single-namespace"}

// imageName is what config/manager calls the image before kustomize gives it its name.
const imageName = "image-csi-operator"

// writeManifests writes the kustomizations, install.yaml, which is config/default, console.yaml, which is config/console, the Helm chart,
// the OLM bundle and its catalog, all with images by their digests.
func writeManifests(ctx context.Context, r release, made digests, dir string) error {
	work, err := os.MkdirTemp("", "image-csi-manifests-")
	if err != nil {
		return fmt.Errorf("make a directory for manifests: %w", err)
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(filepath.Join(work, "config"), os.DirFS(filepath.Join(r.root, "config"))); err != nil {
		return fmt.Errorf("copy config: %w", err)
	}
	if err := setImage(filepath.Join(work, "config", "manager", "kustomization.yaml"), r.repository, made.operator); err != nil {
		return err
	}
	if err := setSample(filepath.Join(work, "config", "samples", "storage_v1alpha1_imagecsidriver_full.yaml"), r.repository, made.operator); err != nil {
		return err
	}
	base := filepath.Join(work, "config", "manifests", "bases", imageName+".clusterserviceversion.yaml")
	if err := setName(base, templateGatherer, made.gathererIn(r.repository)); err != nil {
		return err
	}
	for file, part := range map[string]string{"install.yaml": "default", "console.yaml": "console"} {
		built, err := kustomize(ctx, r.root, filepath.Join(work, "config", part))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), built, 0o644); err != nil {
			return err
		}
	}
	for _, part := range kustomizations {
		if err := os.CopyFS(filepath.Join(dir, "config", part), os.DirFS(filepath.Join(work, "config", part))); err != nil {
			return fmt.Errorf("copy config/%s: %w", part, err)
		}
	}
	if err := r.chart(ctx, work, dir); err != nil {
		return fmt.Errorf("make the Helm chart: %w", err)
	}
	if err := r.bundle(ctx, work, dir); err != nil {
		return err
	}
	return r.olm(ctx, work, dir)
}

// chart writes the Helm chart, packaged.
func (r release) chart(ctx context.Context, work, dir string) error {
	made := filepath.Join(work, "chart", imageName)
	if err := tool(ctx, r.root, "chart", "-config", filepath.Join(work, "config"), "-dir", made, "-version", r.version); err != nil {
		return err
	}
	return archive(filepath.Dir(made), filepath.Join(dir, imageName+"-"+r.version+".tgz"))
}

// bundle writes the OLM bundle.
func (r release) bundle(ctx context.Context, work, dir string) error {
	source, err := kustomize(ctx, r.root, filepath.Join(work, "config", "manifests"))
	if err != nil {
		return err
	}
	manifests := filepath.Join(work, "manifests.yaml")
	if err := os.WriteFile(manifests, source, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"-root", work, "-manifests", manifests, "-version", r.version}, {"-root", work, "-validate"}} {
		if err := tool(ctx, r.root, "bundle", args...); err != nil {
			return fmt.Errorf("make the OLM bundle: %w", err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "bundle"), os.DirFS(filepath.Join(work, "bundle"))); err != nil {
		return fmt.Errorf("copy the bundle: %w", err)
	}
	return nil
}

// tool runs a program of hack/tools.
func tool(ctx context.Context, root, name string, args ...string) error {
	command := exec.CommandContext(ctx, "go", append([]string{"run", "."}, args...)...)
	command.Dir = filepath.Join(root, "hack", "tools", name)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("hack/tools/%s: %w\n%s", name, err, out)
	}
	return nil
}

// setImage has a kustomization name the image by its digest.
func setImage(file, repository string, digest v1.Hash) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kustomization map[string]any
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	images, _ := kustomization["images"].([]any)
	if len(images) != 1 || images[0].(map[string]any)["name"] != imageName {
		return fmt.Errorf("%s does not set one image, %s: %v", file, imageName, images)
	}
	kustomization["images"] = []any{map[string]any{"name": imageName, "newName": repository, "digest": digest.String()}}
	if text, err = yaml.Marshal(kustomization); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// sampleImage is where the full sample names the image.
var sampleImage = regexp.MustCompile(`(?m)^(\s+image: )\S+/image-csi-operator:\S+$`)

// setSample has a sample name the image by its digest.
func setSample(file, repository string, digest v1.Hash) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !sampleImage.Match(text) {
		return fmt.Errorf("%s does not name the image", file)
	}
	return os.WriteFile(file, sampleImage.ReplaceAll(text, []byte("${1}"+repository+"@"+digest.String())), 0o644)
}

// kustomize builds a directory by the kustomize that hack/tools pins.
func kustomize(ctx context.Context, root, dir string) ([]byte, error) {
	pins, err := filepath.Abs(filepath.Join(root, "hack", "tools", "generate", "go.mod"))
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "go", "tool", "-modfile="+pins, "kustomize", "build", dir)
	command.Dir = root
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w: %s", dir, err, said.String())
	}
	return out.Bytes(), nil
}
