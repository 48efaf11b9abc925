package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// annotations of the bundle image (operator-framework, "Bundle Annotations").
var annotations = map[string]string{
	"operators.operatorframework.io.bundle.mediatype.v1":       "registry+v1",
	"operators.operatorframework.io.bundle.manifests.v1":       "manifests/",
	"operators.operatorframework.io.bundle.metadata.v1":        "metadata/",
	"operators.operatorframework.io.bundle.package.v1":         operatorName,
	"operators.operatorframework.io.bundle.channels.v1":        "candidate-v0",
	"operators.operatorframework.io.bundle.channel.default.v1": "candidate-v0",
	"operators.operatorframework.io.test.mediatype.v1":         "scorecard+v1",
	"operators.operatorframework.io.test.config.v1":            "tests/scorecard/",
}

// generate writes the bundle anew.
func generate(root, manifests, version string) error {
	in, err := read(manifests, version)
	if err != nil {
		return err
	}
	if err := complete(root, in); err != nil {
		return err
	}
	dir := filepath.Join(root, "bundle")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	in.csv.Namespace = "placeholder"
	files := map[string]any{
		filepath.Join("manifests", operatorName+".clusterserviceversion.yaml"): in.csv,
		filepath.Join("metadata", "annotations.yaml"):                          map[string]any{"annotations": annotations},
	}
	for _, crd := range in.crds {
		files[filepath.Join("manifests", crd.Spec.Group+"_"+crd.Spec.Names.Plural+".yaml")] = crd
	}
	for _, object := range in.others {
		files[filepath.Join("manifests", object.GetName()+"_"+object.GetKind()+".yaml")] = object.Object
	}
	for name, object := range files {
		if err := write(filepath.Join(dir, name), object); err != nil {
			return err
		}
	}
	return copyFile(filepath.Join(root, "config", "scorecard", "config.yaml"), filepath.Join(dir, "tests", "scorecard", "config.yaml"))
}

// write writes an object without the fields that a server fills.
func write(file string, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	delete(fields, "status")
	if text, err = yaml.Marshal(withoutNulls(fields)); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return save(file, text)
}

// withoutNulls drops what Go's types marshal as null, e.g. creation timestamps.
func withoutNulls(value any) any {
	switch typed := value.(type) {
	case map[string]any:
		for key, element := range typed {
			if element == nil {
				delete(typed, key)
				continue
			}
			typed[key] = withoutNulls(element)
		}
	case []any:
		for i := range typed {
			typed[i] = withoutNulls(typed[i])
		}
	}
	return value
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return save(to, text)
}

func save(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}
