package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// product is an image of a release.
type product struct {
	// dir is its OCI layout in a release's directory. The layout's index lists the image's index, named by its tag, and the inventories.
	dir string

	// suffix is what its repository and its inventories have that the operator's have not.
	suffix string

	description string
	config      v1.Config

	// programs are where they are in the image, each a layer, from the bottom up.
	programs []string

	// modules are the directories below the checkout's root whose modules are linked into the programs.
	modules []string

	// files are those beside certificates and terms.
	files func(root string) ([]image.File, error)
}

// mustGather is the name of the shell's program and module in cmd, and of the image.
const mustGather = "must-gather"

// operator is the image of the programs that run all the time. It has no shell.
func operator() product {
	return product{
		dir: "image", description: "Mounts container images as volumes in pods", config: image.OperatorConfig(),
		programs: []string{"/manager", "/node-plugin", "/credential-provider"}, modules: []string{"."},
		files: func(string) ([]image.File, error) { return nil, nil },
	}
}

// gatherer is the image for "oc adm must-gather", which needs a shell.
func gatherer() product {
	return product{
		dir: mustGather, suffix: "-" + mustGather, description: "Collects what support needs of the image CSI operator, for oc adm must-gather",
		config: v1.Config{
			Entrypoint: []string{"/usr/bin/gather"}, Env: []string{"PATH=/usr/bin:/bin"}, User: image.OperatorConfig().User, WorkingDir: "/",
		},
		programs: []string{"/usr/bin/" + mustGather, "/usr/bin/" + plugin}, modules: []string{".", "cmd/" + mustGather},
		files: gatherFiles,
	}
}

// gatherFiles are the script that collects, and the names by which the shell's program is called.
func gatherFiles(root string) ([]image.File, error) {
	from := filepath.Join(root, "cmd", mustGather)
	script, err := os.ReadFile(filepath.Join(from, "gather"))
	if err != nil {
		return nil, err
	}
	links, err := os.ReadFile(filepath.Join(from, "links"))
	if err != nil {
		return nil, err
	}
	files := []image.File{{Path: "/usr/bin/gather", Content: script, Mode: 0o755}}
	for _, link := range strings.Fields(string(links)) {
		files = append(files, image.File{Path: link, Link: "/usr/bin/" + mustGather})
	}
	return files, nil
}

// built are the files of the programs for an architecture, in the order of layers.
func (p product) built(b builds, architecture string) []string {
	var files []string
	for _, program := range p.programs {
		files = append(files, b.program(architecture, path.Base(program)))
	}
	return files
}

// inventoryFile is the name of an inventory in a release's directory.
func (p product) inventoryFile(architecture string) string {
	return "inventory" + p.suffix + "-" + architecture + ".cdx.json"
}
