package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// termsForm is how files are called in which a module states its terms.
var termsForm = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([._-].*)?$`)

// notices are the terms of every module that is linked of those that modules below a root require, one after the other. A module
// without any is an error.
func notices(ctx context.Context, root string, below []string, linked []debug.Module) ([]byte, error) {
	where := map[string]string{}
	for _, dir := range below {
		found, err := moduleDirs(ctx, filepath.Join(root, dir))
		if err != nil {
			return nil, err
		}
		// A module that only another module links has no directory here.
		maps.DeleteFunc(found, func(_, dir string) bool { return dir == "" })
		maps.Copy(where, found)
	}
	var out bytes.Buffer
	for _, module := range linked {
		dir, known := where[module.Path+"@"+module.Version]
		if !known {
			return nil, fmt.Errorf("module %s %s is linked and not among those of %s", module.Path, module.Version, root)
		}
		files, err := termsIn(dir)
		if err != nil {
			return nil, fmt.Errorf("terms of module %s %s: %w", module.Path, module.Version, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "==== %s %s: %s ====\n\n%s\n\n", module.Path, module.Version, filepath.Base(file), bytes.TrimSpace(text))
		}
	}
	return out.Bytes(), nil
}

func termsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if entry.Type().IsRegular() && termsForm.MatchString(entry.Name()) && !strings.HasSuffix(entry.Name(), ".go") {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, errors.New("its directory has no file LICENSE, COPYING or NOTICE")
	}
	slices.Sort(files)
	return files, nil
}

// moduleDirs are the directories of a module, of those that it requires, and of the toolchain, by path and version.
func moduleDirs(ctx context.Context, root string) (map[string]string, error) {
	command := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-json=Path,Version,Dir,Replace", "all")
	command.Dir = root
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("list the modules of %s: %w", root, err)
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("ask Go for its directory: %w", err)
	}
	toolchain := strings.Fields(string(goroot))
	if len(toolchain) != 2 {
		return nil, fmt.Errorf("read Go's directory and version: it reports %q", goroot)
	}
	dirs := map[string]string{"stdlib@" + toolchain[1]: toolchain[0]}
	type module struct {
		Path, Version, Dir string
		Replace            *module
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var m module
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return dirs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of modules: %w", err)
		}
		dir := m.Dir
		if m.Replace != nil {
			m = *m.Replace
		}
		dirs[m.Path+"@"+m.Version] = dir
	}
}
