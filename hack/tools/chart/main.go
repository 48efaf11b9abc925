package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	var c chart
	flag.StringVar(&c.dir, "dir", "charts/image-csi-operator", "the chart's directory, whose generated files are written anew")
	flag.StringVar(&c.version, "version", "", "the chart's version, which is the operator's, as in 1.2.3")
	builds := map[string]*string{}
	for _, part := range parts {
		builds[part.name] = flag.String(part.name, "", "file with the output of kustomize build "+part.directory)
	}
	flag.Parse()
	if err := run(c, builds); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(c chart, builds map[string]*string) error {
	c.builds = map[string][]byte{}
	for name, file := range builds {
		text, err := os.ReadFile(*file)
		if err != nil {
			return fmt.Errorf("read the build of %s: %w", name, err)
		}
		c.builds[name] = text
	}
	files, err := c.render()
	if err != nil {
		return err
	}
	return c.write(files)
}
