package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bundle", flag.ContinueOnError)
	root := flags.String("root", ".", "the repository")
	manifests := flags.String("manifests", "", "file with the output of kustomize build config/manifests; write the bundle")
	version := flags.String("version", "", "the bundle's version, as in 1.2.3")
	validateOnly := flags.Bool("validate", false, "validate the bundle that exists")
	catalog := flags.String("catalog", "", "directory to write a catalog into")
	template := flags.String("template", "", "the catalog's semver template")
	bundles := bundleDirs{}
	flags.Var(bundles, "bundle", "`image=directory` of a bundle that the template names; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *validateOnly:
		return report(filepath.Join(*root, "bundle"))
	case *catalog != "":
		return writeCatalog(ctx, *template, bundles, *catalog)
	case *manifests != "" && *version != "":
		return generate(*root, *manifests, *version)
	}
	return errors.New("say what to do: -manifests and -version write the bundle, -validate checks it, -catalog writes a catalog")
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
