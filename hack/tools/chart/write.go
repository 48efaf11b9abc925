package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// chart is what is made, and what has been learnt on the way.
type chart struct {
	dir, version string
	builds       map[string][]byte // of the parts, by their names

	defaults map[string]any
	filled   map[string]bool // values and kinds that found a place
}

// still are the chart's files that no value changes.
//
//go:embed all:still
var still embed.FS

// render makes all files of the chart.
func (c *chart) render() (map[string][]byte, error) {
	c.defaults, c.filled = map[string]any{}, map[string]bool{}
	for _, value := range values {
		if value.initial != nil {
			c.defaults[value.name] = value.initial
		}
	}
	files, err := c.templates()
	if err != nil {
		return nil, err
	}
	for name, make := range map[string]func() ([]byte, error){
		"Chart.yaml": c.metadata, "values.yaml": c.valuesFile, "values.schema.json": c.schema, "README.md": c.readme,
	} {
		if files[name], err = make(); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
	}
	for _, name := range []string{"_helpers.tpl", "NOTES.txt", "uninstall.yaml"} {
		if files["templates/"+name], err = still.ReadFile("still/" + name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// write replaces the chart's directory.
func (c *chart) write(files map[string][]byte) error {
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the earlier chart: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// metadata is Chart.yaml (helm.sh/docs/topics/charts, "The Chart.yaml File").
func (c *chart) metadata() ([]byte, error) {
	return yaml.Marshal(struct {
		APIVersion  string   `yaml:"apiVersion"`
		Name        string   `yaml:"name"`
		Description string   `yaml:"description"`
		Type        string   `yaml:"type"`
		Version     string   `yaml:"version"`
		AppVersion  string   `yaml:"appVersion"`
		KubeVersion string   `yaml:"kubeVersion"`
		Home        string   `yaml:"home"`
		Sources     []string `yaml:"sources"`
		Keywords    []string `yaml:"keywords"`
		Icon        string   `yaml:"icon"`
	}{
		"v2", "image-csi-operator", "Mounts container images as volumes in pods, on nodes with containerd and CRI-O alike", "application",
		c.version, "v" + c.version, ">=1.31.0-0", home, []string{home}, []string{"csi", "storage", "volumes", "container images"},
		home + "/raw/v" + c.version + "/config/manifests/icon.svg",
	})
}

const home = "https://github.com/image-csi/image-csi-operator"

// valuesFile is values.yaml: every value with its default and what it is for.
func (c *chart) valuesFile() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, value := range values {
		at := root
		keys := strings.Split(value.name, ".")
		for _, name := range keys[:len(keys)-1] {
			inside := find(at, []string{name}, false)
			if inside == nil {
				at.Content = append(at.Content, key(name), &yaml.Node{Kind: yaml.MappingNode})
				inside = find(at, []string{name}, false)
			}
			at = inside[0].node
		}
		var content yaml.Node
		if err := content.Encode(c.defaults[value.name]); err != nil {
			return nil, err
		}
		named := key(keys[len(keys)-1])
		named.HeadComment = value.help
		at.Content = append(at.Content, named, &content)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := encoder.Encode(root)
	return out.Bytes(), err
}

// schema is values.schema.json, which refuses what is no value.
func (c *chart) schema() ([]byte, error) {
	root := closed()
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	for _, value := range values {
		at := root
		keys := strings.Split(value.name, ".")
		for _, name := range keys[:len(keys)-1] {
			properties := at["properties"].(schema)
			if properties[name] == nil {
				properties[name] = closed()
			}
			at = properties[name].(schema)
		}
		described := maps.Clone(value.schema)
		described["description"] = value.help
		at["properties"].(schema)[keys[len(keys)-1]] = described
	}
	root["properties"].(schema)["global"] = object // a chart that has this one among others passes it
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

func closed() schema {
	return schema{"type": "object", "additionalProperties": false, "properties": schema{}}
}

// readme is README.md, with the table of values.
func (c *chart) readme() ([]byte, error) {
	head, err := still.ReadFile("still/README.md")
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(head)
	fmt.Fprint(out, "\n| value | default | what |\n|---|---|---|\n")
	for _, value := range values {
		content, err := json.Marshal(c.defaults[value.name])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", value.name, content, value.help)
	}
	return out.Bytes(), nil
}
