package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// templates are the chart's templates, by their file names.
func (c *chart) templates() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, part := range parts {
		documents := yaml.NewDecoder(bytes.NewReader(c.builds[part.name]))
		for {
			var document yaml.Node
			if err := documents.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read the build of config/%s: %w", part.name, err)
			}
			kind, name := textAt(document.Content[0], "kind"), textAt(document.Content[0], "metadata", "name")
			if kind == "Namespace" && name == ownName {
				continue
			}
			file := fmt.Sprintf("templates/%s-%s.yaml", strings.ToLower(kind), name)
			if files[file] != nil {
				return nil, fmt.Errorf("two objects are %s %s", kind, name)
			}
			if kind == "Namespace" {
				keep(document.Content[0])
			}
			text, err := c.template(document.Content[0], kind, part)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", kind, name, err)
			}
			files[file] = text
		}
	}
	for _, value := range values {
		for _, place := range value.at {
			if !c.filled[value.name+" "+place.kind] {
				return nil, fmt.Errorf("no %s has a place for the value %s", place.kind, value.name)
			}
		}
	}
	return files, nil
}

// keep has Helm leave an object when the release goes: a namespace has what others put into it.
func keep(object *yaml.Node) {
	for _, annotations := range find(object, []string{"metadata", "annotations"}, false) {
		annotations.node.Content = append(annotations.node.Content, key("helm.sh/resource-policy"), key("keep"))
	}
}

// template makes one object's template.
func (c *chart) template(object *yaml.Node, kind string, part part) ([]byte, error) {
	marks := &marks{}
	for _, value := range values {
		for _, place := range value.at {
			if place.kind != kind {
				continue
			}
			for _, found := range find(object, place.path, place.form == optional || place.form == appended) {
				if err := c.fill(found, value, place.form, marks); err != nil {
					return nil, fmt.Errorf("value %s: %w", value.name, err)
				}
				c.filled[value.name+" "+kind] = true
			}
		}
	}
	for _, rule := range everywhere {
		if rule.place.kind != "" && rule.place.kind != kind {
			continue
		}
		for _, found := range find(object, rule.place.path, false) {
			if found.node.Value == rule.name {
				*found.node = *marks.stand(mark{form: rule.place.form, scalar: true})
			}
		}
	}
	var encoded bytes.Buffer
	encoder := yaml.NewEncoder(&encoded)
	encoder.SetIndent(2)
	if err := encoder.Encode(object); err != nil {
		return nil, err
	}
	text := marks.expand(strings.ReplaceAll(encoded.String(), "{{", `{{ "{{" }}`))
	for _, condition := range conditions(kind, part) {
		text = "{{- if " + condition + " }}\n" + text + "{{- end }}\n"
	}
	return []byte(text), nil
}

func conditions(kind string, part part) []string {
	var all []string
	if name := switches[kind]; name != "" {
		all = append(all, ".Values."+name)
	}
	if part.value != "" {
		all = append(all, ".Values."+part.value)
	}
	if kind == "Namespace" {
		all = append(all, "ne .Values.nodePlugin.namespace .Release.Namespace")
	}
	return all
}

// fill has a value at a place, and learns from what stands there its default.
func (c *chart) fill(found found, value value, form form, marks *marks) error {
	mark := mark{form: form, value: value.name, scalar: found.node.Kind == yaml.ScalarNode}
	switch form {
	case whole:
		var stands any
		if err := found.node.Decode(&stands); err != nil {
			return err
		}
		c.defaults[value.name] = stands
	case managerImage:
		repository, digest, released := strings.Cut(found.node.Value, "@")
		tag := "v" + c.version
		if colon := strings.LastIndex(repository, ":"); !released && colon > strings.LastIndex(repository, "/") {
			repository, tag = repository[:colon], repository[colon+1:]
		}
		c.defaults["image.repository"], c.defaults["image.tag"], c.defaults["image.digest"] = repository, tag, digest
	case optional:
		found.node.Content = append(found.node.Content, key(found.key), marks.stand(mark))
		return nil
	case appended:
		stands := marks.stand(mark)
		if found.node.Kind == yaml.MappingNode {
			found.node.Content = append(found.node.Content, key(stands.Value))
		}
		found.node.Content = append(found.node.Content, stands)
		return nil
	}
	*found.node = *marks.stand(mark)
	return nil
}

func key(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// found is a place in an object: the node that stands there, or the one to which key would be added.
type found struct {
	node *yaml.Node
	key  string
}

// find returns the places of a path. The last key may be missing if it is to be added.
func find(node *yaml.Node, path []string, adds bool) []found {
	if len(path) == 0 {
		return []found{{node: node}}
	}
	key := path[0]
	if node.Kind == yaml.SequenceNode {
		var all []found
		name, selects := strings.CutPrefix(key, "name=")
		for _, item := range node.Content {
			if key == "#" || selects && textAt(item, "name") == name {
				all = append(all, find(item, path[1:], adds)...)
			}
		}
		return all
	}
	for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return find(node.Content[i+1], path[1:], adds)
		}
	}
	if adds && len(path) == 1 && node.Kind == yaml.MappingNode {
		return []found{{node: node, key: key}}
	}
	return nil
}

func textAt(node *yaml.Node, path ...string) string {
	for _, found := range find(node, path, false) {
		return found.node.Value
	}
	return ""
}

// mark stands in an object for what is no YAML until the chart is rendered.
type mark struct {
	form   form
	value  string
	scalar bool // it stands for a scalar
}

// marks are those of an object, by their numbers.
type marks struct{ all []mark }

// stand returns the node that stands for a mark.
func (m *marks) stand(mark mark) *yaml.Node {
	m.all = append(m.all, mark)
	return key(fmt.Sprintf("MARK%dMARK", len(m.all)-1))
}

// markedLine is a line with a mark: its indent, the dash of a list's item, its key, and the mark's number.
var markedLine = regexp.MustCompile(`(?m)^( *)(- )?(?:([^\s:]+): )?MARK(\d+)MARK$`)

// expand writes in place of each mark what it stands for.
func (m *marks) expand(text string) string {
	return markedLine.ReplaceAllStringFunc(text, func(line string) string {
		match := markedLine.FindStringSubmatch(line)
		number, err := strconv.Atoi(match[4])
		if err != nil || number >= len(m.all) {
			return line
		}
		return m.all[number].expand(match[1], match[2], match[3])
	})
}

func (m mark) expand(indent, dash, key string) string {
	value := ".Values." + m.value
	yamlOf := func(what string, deeper int) string {
		return fmt.Sprintf("%s{{- toYaml %s | nindent %d }}\n", indent, what, len(indent)+deeper)
	}
	switch {
	case m.form == optional:
		return indent + "{{- with " + value + " }}\n" + indent + key + ":\n" + yamlOf(".", 2) + indent + "{{- end }}"
	case m.form == appended:
		return indent + "{{- with " + value + " }}\n" + yamlOf(".", 0) + indent + "{{- end }}"
	case m.form == whole && !m.scalar:
		return indent + key + ":\n" + strings.TrimSuffix(yamlOf(value, 2), "\n")
	}
	if key != "" {
		key += ": "
	}
	return indent + dash + key + m.expression()
}

// expression is what renders to a scalar.
func (m mark) expression() string {
	switch m.form {
	case managerImage:
		return `{{ include "image-csi-operator.image" . | toJson }}`
	case pluginImage:
		return `{{ .Values.` + m.value + ` | default (include "image-csi-operator.image" .) | toJson }}`
	case ownNamespace:
		return `{{ .Release.Namespace }}`
	case pluginsInside:
		return `{{ .Values.nodePlugin.namespace }}`
	default:
		return `{{ .Values.` + m.value + ` | toJson }}`
	}
}
