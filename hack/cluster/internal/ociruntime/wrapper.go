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

// debianCrun is where Debian's package has it.
const debianCrun = "/usr/bin/crun"

// crunVersion is a version of the OCI runtime specification that crun 1.8 takes. It refuses those after 1.0 by their number alone.
const crunVersion = "1.0.2"

// Exec adapts what the arguments name, the bundle of a new container or the process to run in an existing one, and
// becomes the real runtime. It returns only if that fails.
func Exec(runtime string, args []string) error { return become(runtime, args, adaptSpec) }

// ExecCrun is Exec of crun.
func ExecCrun(args []string) error {
	return become(debianCrun, args, adaptSpecForCrun)
}

func become(runtime string, args []string, change func(spec map[string]any)) error {
	if bundle := flagValue(args, "--bundle", "-b"); bundle != "" {
		if err := adaptFile(filepath.Join(bundle, "config.json"), change); err != nil {
			return err
		}
	}
	if process := flagValue(args, "--process", "-p"); process != "" {
		if err := adaptFile(process, adaptProcess); err != nil {
			return err
		}
	}
	err := unix.Exec(runtime, append([]string{runtime}, args...), os.Environ())
	return fmt.Errorf("run %s: %w", runtime, err)
}

// flagValue finds the value of a flag, under either of its names.
func flagValue(args []string, long, short string) string {
	for i, arg := range args {
		if value, found := strings.CutPrefix(arg, long+"="); found {
			return value
		}
		if (arg == long || arg == short) && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func adaptFile(path string, change func(map[string]any)) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	adapted, err := adapt(data, change)
	if err != nil {
		return fmt.Errorf("adapt %s: %w", path, err)
	}
	return os.WriteFile(path, adapted, 0o644)
}

// adapt works on plain JSON, so that fields of a newer specification pass through unharmed.
func adapt(content []byte, change func(map[string]any)) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	change(object)
	return json.Marshal(object)
}

func adaptSpec(spec map[string]any) {
	if process, ok := spec["process"].(map[string]any); ok {
		adaptProcess(process)
	}
}

// adaptProcess raises a negative OOM score to 0 and takes CAP_SYS_RESOURCE away.
func adaptProcess(process map[string]any) {
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		process["oomScoreAdj"] = 0
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		if list, ok := set.([]any); ok {
			sets[name] = slices.DeleteFunc(list, func(c any) bool { return c == missingCapability })
		}
	}
}

// adaptSpecForCrun also takes out a negative limit of processes, by which newer versions say that there is none.
func adaptSpecForCrun(spec map[string]any) {
	adaptSpec(spec)
	spec["ociVersion"] = crunVersion
	linux, _ := spec["linux"].(map[string]any)
	resources, _ := linux["resources"].(map[string]any)
	pids, _ := resources["pids"].(map[string]any)
	if limit, ok := pids["limit"].(json.Number); ok && strings.HasPrefix(limit.String(), "-") {
		delete(resources, "pids")
	}
}
