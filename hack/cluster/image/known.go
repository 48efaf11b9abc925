package image

import (
	"fmt"
	"os/exec"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// OperatorConfig is how the project's image is run, as in its Dockerfile: the manager by default, no root user.
func OperatorConfig() v1.Config {
	return v1.Config{Entrypoint: []string{"/manager"}, User: "65532:65532", WorkingDir: "/"}
}

// Operator is the project's image: its programs at the root, no shell. Releases have certificates and terms beside them.
func Operator(manager, nodePlugin, credentialProvider string) (v1.Image, error) {
	var layers []v1.Layer
	for _, program := range []struct{ source, target string }{
		{manager, "/manager"}, {nodePlugin, "/node-plugin"}, {credentialProvider, "/credential-provider"},
	} {
		layer, err := ProgramLayer(program.source, program.target)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return New(OperatorConfig(), layers...)
}

// ProgramLayer is the layer of one program (see Program).
func ProgramLayer(source, target string) (v1.Layer, error) {
	file, err := Program(source, target)
	if err != nil {
		return nil, err
	}
	return Layer(file)
}

// Busybox is a shell with the usual tools, from this machine's static busybox (Debian's busybox-static).
func Busybox() (v1.Image, error) {
	const source = "/bin/busybox"
	list, err := exec.Command(source, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the tools of %s: %w; install busybox-static", source, err)
	}
	program, err := Program(source, "/bin/busybox")
	if err != nil {
		return nil, err
	}
	files := []File{
		{Path: "/tmp", Directory: true, Mode: 0o1777},
		{Path: "/etc/passwd", Content: []byte("root:x:0:0::/:/bin/sh\n")},
		program,
	}
	for _, tool := range strings.Fields(string(list)) {
		if tool != "busybox" {
			files = append(files, File{Path: "/bin/" + tool, Link: "busybox"})
		}
	}
	layer, err := Layer(files...)
	if err != nil {
		return nil, err
	}
	return New(v1.Config{Entrypoint: []string{"/bin/sh"}}, layer)
}

// Data is an image of files only, with a layer for each of the given sets of files, from the bottom up.
func Data(layers ...[]File) (v1.Image, error) {
	var made []v1.Layer
	for _, files := range layers {
		layer, err := Layer(files...)
		if err != nil {
			return nil, err
		}
		made = append(made, layer)
	}
	return New(v1.Config{}, made...)
}

// Numbered is a data image of n layers: layer i (counted from 0) adds /layers/<i> and rewrites /top, so that the
// merged tree shows n files and a /top that names the last layer.
func Numbered(n int) (v1.Image, error) {
	var layers [][]File
	for i := range n {
		number := fmt.Sprint(i)
		layers = append(layers, []File{
			{Path: "/layers/" + number, Content: []byte("layer " + number + "\n")},
			{Path: "/top", Content: []byte(number + "\n")},
		})
	}
	return Data(layers...)
}
