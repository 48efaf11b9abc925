package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	var c chart
	config := flag.String("config", "../../../config", "the directory of kustomizations")
	flag.StringVar(&c.dir, "dir", "../../../charts/image-csi-operator", "the chart's directory, which is written anew")
	flag.StringVar(&c.version, "version", "", "the chart's version, which is the operator's, as in 1.2.3")
	flag.Parse()
	if err := run(c, *config); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(c chart, config string) (err error) {
	c.builds = map[string][]byte{}
	for _, part := range parts {
		if c.builds[part.name], err = kustomize(filepath.Join(config, part.name)); err != nil {
			return err
		}
	}
	files, err := c.render()
	if err != nil {
		return err
	}
	return c.write(files)
}

// kustomize builds a directory by the kustomize that is pinned beside this program.
func kustomize(dir string) ([]byte, error) {
	command := exec.Command("go", "tool", "-modfile=../generate/go.mod", "kustomize", "build", dir)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w: %s", dir, err, said.String())
	}
	return out, nil
}
