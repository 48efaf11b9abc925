package ociruntime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const missingCapability = "CAP_SYS_RESOURCE"

// Exec adapts the bundle that the arguments name, if they name one, and becomes the real runtime. It returns only if
// that fails.
func Exec(runtime string, args []string) error {
	if bundle := bundleOf(args); bundle != "" {
		if err := adaptFile(filepath.Join(bundle, "config.json")); err != nil {
			return err
		}
	}
	err := unix.Exec(runtime, append([]string{runtime}, args...), os.Environ())
	return fmt.Errorf("run %s: %w", runtime, err)
}

// bundleOf finds the value of the flag --bundle, or -b.
func bundleOf(args []string) string {
	for i, arg := range args {
		if value, found := strings.CutPrefix(arg, "--bundle="); found {
			return value
		}
		if (arg == "--bundle" || arg == "-b") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func adaptFile(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	adapted, err := adapt(data)
	if err != nil {
		return fmt.Errorf("adapt %s: %w", path, err)
	}
	return os.WriteFile(path, adapted, 0o644)
}

// adapt raises a negative OOM score to 0 and takes CAP_SYS_RESOURCE away. It works on plain JSON, so that fields of a
// newer specification pass through unharmed.
func adapt(config []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(config))
	decoder.UseNumber()
	var spec map[string]any
	if err := decoder.Decode(&spec); err != nil {
		return nil, err
	}
	process, _ := spec["process"].(map[string]any)
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		process["oomScoreAdj"] = 0
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		if list, ok := set.([]any); ok {
			sets[name] = slices.DeleteFunc(list, func(c any) bool { return c == missingCapability })
		}
	}
	return json.Marshal(spec)
}
