package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// modules are the Go modules that programs were linked from, by path and version, in order; the toolchain comes first, as "stdlib".
func modules(files []string) ([]debug.Module, error) {
	found := map[string]debug.Module{}
	for _, file := range files {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read what %s was linked from: %w", file, err)
		}
		found[""] = debug.Module{Path: "stdlib", Version: info.GoVersion}
		for _, module := range info.Deps {
			for module.Replace != nil {
				module = module.Replace
			}
			found[module.Path+"@"+module.Version] = debug.Module{Path: module.Path, Version: module.Version}
		}
	}
	var sorted []debug.Module
	for _, key := range slices.Sorted(maps.Keys(found)) {
		sorted = append(sorted, found[key])
	}
	return sorted, nil
}

// inventory is the CycloneDX 1.6 document of the image of a name. It has neither a time nor a serial number, so that equal programs give
// equal documents.
func inventory(r release, name, architecture string, linked []debug.Module) ([]byte, error) {
	document := cyclonedx.NewBOM()
	document.SpecVersion, document.XMLNS = cyclonedx.SpecVersion1_6, ""
	document.JSONSchema = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	document.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: "image", Type: cyclonedx.ComponentTypeContainer, Name: name, Version: r.tag(),
		Properties: &[]cyclonedx.Property{{Name: "architecture", Value: architecture}},
		Licenses:   &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
	}}
	var components []cyclonedx.Component
	var references []string
	for _, module := range linked {
		purl := "pkg:golang/" + module.Path + "@" + module.Version
		components = append(components, cyclonedx.Component{
			BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, PackageURL: purl,
		})
		references = append(references, purl)
	}
	document.Components = &components
	document.Dependencies = &[]cyclonedx.Dependency{{Ref: "image", Dependencies: &references}}
	var out bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(document, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("write the inventory for %s: %w", architecture, err)
	}
	return out.Bytes(), nil
}
