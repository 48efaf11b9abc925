package migration

import (
	"maps"
	"slices"
	"strings"
)

// take returns the value at a path, and the values without it. Nothing is changed. A value that says nothing is nil.
func take(from map[string]any, path string) (value any, rest map[string]any) {
	key, below, deeper := strings.Cut(path, ".")
	rest = maps.Clone(from)
	if !deeper {
		delete(rest, key)
		return said(from[key]), rest
	}
	inner, is := from[key].(map[string]any)
	if !is {
		return nil, rest
	}
	value, left := take(inner, below)
	rest[key] = left
	return value, rest
}

// said returns a value unless it is an empty map, list or text, with which charts leave a choice open.
func said(value any) any {
	switch is := value.(type) {
	case map[string]any:
		if len(is) == 0 {
			return nil
		}
	case []any:
		if len(is) == 0 {
			return nil
		}
	case string:
		if is == "" {
			return nil
		}
	}
	return value
}

// paths lists those of the values that say something, sorted.
func paths(values map[string]any) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if inner, is := values[key].(map[string]any); is {
			for _, below := range paths(inner) {
				out = append(out, key+"."+below)
			}
		} else if said(values[key]) != nil {
			out = append(out, key)
		}
	}
	return out
}
