package main

import (
	"slices"
	"strings"
	"unicode"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// describe returns the console's description of a CRD: every field of its spec and status.
func describe(crd *apiextensionsv1.CustomResourceDefinition) []v1alpha1.CRDDescription {
	var out []v1alpha1.CRDDescription
	for _, version := range crd.Spec.Versions {
		schema := version.Schema.OpenAPIV3Schema
		description := v1alpha1.CRDDescription{
			Name: crd.Name, Version: version.Name, Kind: crd.Spec.Names.Kind,
			DisplayName: words(crd.Spec.Names.Kind),
			Description: firstSentence(schema.Description),
			Resources: []v1alpha1.APIResourceReference{
				{Kind: "DaemonSet", Version: "v1", Name: ""},
				{Kind: "ServiceAccount", Version: "v1", Name: ""},
				{Kind: "CSIDriver", Version: "v1", Name: ""},
				{Kind: "Pod", Version: "v1", Name: ""},
			},
		}
		walk("", schema.Properties["spec"], func(path string, field apiextensionsv1.JSONSchemaProps) {
			description.SpecDescriptors = append(description.SpecDescriptors, v1alpha1.SpecDescriptor{
				Path: path, DisplayName: words(lastPart(path)), Description: oneLine(field.Description), XDescriptors: widgets(path, field),
			})
		})
		walk("", schema.Properties["status"], func(path string, field apiextensionsv1.JSONSchemaProps) {
			description.StatusDescriptors = append(description.StatusDescriptors, v1alpha1.StatusDescriptor{
				Path: path, DisplayName: words(lastPart(path)), Description: oneLine(field.Description), XDescriptors: statusWidgets(path),
			})
		})
		out = append(out, description)
	}
	return out
}

// walk visits the fields below a schema in the order of their paths. Kubernetes' own types are described as a whole.
func walk(path string, schema apiextensionsv1.JSONSchemaProps, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	names := make([]string, 0, len(schema.Properties))
	for name := range schema.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field, at := schema.Properties[name], strings.TrimPrefix(path+"."+name, ".")
		visit(at, field)
		switch {
		case isWhole(at):
		case field.Items != nil && field.Items.Schema != nil:
			walk(at+"[0]", *field.Items.Schema, visit)
		default:
			walk(at, field, visit)
		}
	}
}

func isWhole(path string) bool {
	return path == "nodePlugin.tolerations" || path == "nodePlugin.resources" || path == "conditions"
}

const ui = "urn:alm:descriptor:com.tectonic.ui:"

// widgets are the console's inputs for a field of the spec.
func widgets(path string, field apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	switch {
	case path == "nodePlugin.resources":
		return []string{ui + "resourceRequirements"}
	case len(field.Enum) > 0:
		for _, value := range field.Enum {
			out = append(out, ui+"select:"+strings.Trim(string(value.Raw), `"`))
		}
	case field.Type == "integer":
		out = append(out, ui+"number")
	case field.Type == "string" || field.XIntOrString:
		out = append(out, ui+"text")
	}
	if path != "managementState" && path != "aliases" && !strings.HasPrefix(path, "volumes") {
		out = append(out, ui+"advanced")
	}
	return out
}

func statusWidgets(path string) []string {
	if path == "conditions" {
		return []string{"urn:alm:descriptor:io.kubernetes.conditions"}
	}
	return []string{ui + "text"}
}

func lastPart(path string) string {
	parts := strings.Split(strings.ReplaceAll(path, "[0]", ""), ".")
	return parts[len(parts)-1]
}

// words turns a field's name into a title: maxParallelPulls into "Max Parallel Pulls", ImageCSIDriver into "Image CSI Driver".
func words(name string) string {
	runes := []rune(name)
	var out strings.Builder
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			out.WriteByte(' ')
		}
		if i == 0 {
			r = unicode.ToUpper(r)
		}
		out.WriteRune(r)
	}
	return out.String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func firstSentence(text string) string {
	sentence, _, _ := strings.Cut(oneLine(text), ". ")
	return strings.TrimSuffix(sentence, ".") + "."
}
