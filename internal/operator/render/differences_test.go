package render

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// variant is a class whose objects are much as another's, whose whole manifests are in a file of their own.
type variant struct {
	name       string
	of, likeIt nodeclass.Class
}

func variants(t *testing.T) []variant {
	t.Helper()
	base, crio := class(t, nodeclass.Containerd), class(t, nodeclass.CRIO)
	out := []variant{
		{"containerd with mount mode Bidirectional",
			class(t, nodeclass.Containerd, v1alpha1.NodeClass{Name: nodeclass.Containerd, MountMode: contract.ModeBidirectional}), base},
		{"crio with mount mode Nsenter",
			class(t, nodeclass.CRIO, v1alpha1.NodeClass{Name: nodeclass.CRIO, MountMode: contract.ModeNsenter}), base},
		{"containerd with network Host", class(t, nodeclass.Containerd, v1alpha1.NodeClass{Name: nodeclass.Containerd, Network: v1alpha1.NetworkHost}), base},
	}
	whole := []string{nodeclass.Containerd, nodeclass.CRIO, nodeclass.Bottlerocket}
	for _, name := range slices.Sorted(slices.Values(nodeclass.Names())) {
		of := class(t, name)
		switch {
		case slices.Contains(whole, name):
		case of.Runtime == crio.Runtime:
			out = append(out, variant{name, of, crio})
		default:
			out = append(out, variant{name, of, base})
		}
	}
	return out
}

func TestClassesDifferInLittle(t *testing.T) {
	var got bytes.Buffer
	for _, v := range variants(t) {
		fmt.Fprintf(&got, "%s, which is as %s, but for\n", v.name, v.likeIt.Name)
		before, after := fieldsOf(t, v.likeIt), fieldsOf(t, v.of)
		paths := maps.Clone(before)
		maps.Copy(paths, after)
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			was, had := before[path]
			is, has := after[path]
			if had && (!has || was != is) {
				fmt.Fprintf(&got, "  - %s: %s\n", path, was)
			}
			if has && (!had || was != is) {
				fmt.Fprintf(&got, "  + %s: %s\n", path, is)
			}
		}
	}
	compareFile(t, "differences.txt", got.Bytes())
}

// fieldsOf returns every field of a class's objects by its path. The class's own name, and what has it in its name, is CLASS.
func fieldsOf(t *testing.T, of nodeclass.Class) map[string]string {
	t.Helper()
	out := map[string]string{}
	in := Input{Driver: minimal(), Names: Names(minimal()), Settings: settings, Classes: []nodeclass.Class{of}}
	for _, object := range Render(in).Apply {
		fields, err := Fields(object)
		if err != nil {
			t.Fatal(err)
		}
		at := KindOf(object) + " " + strings.TrimSuffix(object.GetName(), "-"+of.Name)
		if spec, found, _ := unstructured.NestedMap(fields.Object, "spec", "template", "spec"); found {
			flatten("pod", spec, out)
			unstructured.RemoveNestedField(fields.Object, "spec", "template", "spec")
		}
		flatten(at, fields.Object, out)
	}
	for path, value := range out {
		if value == of.Name {
			out[path] = "CLASS"
		} else if before, is := strings.CutSuffix(value, "-"+of.Name); is {
			out[path] = before + "-CLASS"
		}
	}
	return out
}

// flatten adds the fields of a value. An item of a list is found by its name, a flag by its own, and any other text by itself.
func flatten(path string, value any, out map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for key, field := range value {
			flatten(path+"."+key, field, out)
		}
		if len(value) == 0 {
			out[path] = "{}"
		}
	case []any:
		seen := map[string]int{}
		for i, item := range value {
			key := keyOf(i, item)
			if seen[key]++; seen[key] > 1 { // as of a volume that is mounted twice
				key = fmt.Sprint(key, " ", seen[key])
			}
			flatten(path+"["+key+"]", item, out)
		}
	default:
		out[path] = fmt.Sprint(value)
	}
}

func keyOf(i int, item any) string {
	switch item := item.(type) {
	case map[string]any:
		if name, has := item["name"].(string); has {
			return name
		}
	case string:
		flag, _, _ := strings.Cut(item, "=")
		return flag
	}
	return fmt.Sprint(i)
}
