package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the repository")
	manifests := flag.String("manifests", "", "file with the output of kustomize build config/manifests")
	validateOnly := flag.Bool("validate", false, "validate the bundle that exists, write nothing")
	flag.Parse()
	run := func() error { return generate(*root, *manifests) }
	if *validateOnly {
		run = func() error { return report(filepath.Join(*root, "bundle")) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

// report prints the validators' results and fails on any: a warning here is a rejection in a catalog there.
func report(dir string) error {
	results, err := validate(dir)
	if err != nil {
		return err
	}
	for _, result := range results {
		fmt.Fprintln(os.Stderr, result)
	}
	if len(results) > 0 {
		return fmt.Errorf("%s has %d errors and warnings", dir, len(results))
	}
	fmt.Printf("%s: no errors, no warnings\n", dir)
	return nil
}
