package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	// plugin is the program of kubectl imagecsi, and pluginName what krew calls it.
	plugin     = "kubectl-imagecsi"
	pluginName = "imagecsi"

	// pluginsDir has krew's manifest and an archive for each system in a release's directory.
	pluginsDir = "kubectl"

	// downloads is where krew gets an archive that is not given to it: the assets of the forge's release.
	downloads = "https://github.com/image-csi/image-csi-operator/releases/download/"
)

// desktopForm is a system and an architecture by Go's names.
var desktopForm = regexp.MustCompile(`^(linux|darwin|windows)/(amd64|arm64)$`)

// compilePlugins builds kubectl imagecsi as the Makefile's target does, for every desktop of a release.
func compilePlugins(ctx context.Context, r release, b builds) error {
	if len(r.desktops) == 0 {
		return nil
	}
	command := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", r.root, "kubectl-plugin",
		"OUT="+filepath.Join(b.dir, pluginsDir), "VERSION="+r.version, "DESKTOPS="+strings.Join(r.desktops, " "))
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("build kubectl imagecsi: %w", err)
	}
	return nil
}

// platform is one of krew's manifest (krew documentation, "Writing Krew plugin manifests").
type platform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

// writePlugins writes an archive of kubectl imagecsi for every desktop, with the terms of the project and of all that is linked into it,
// and the manifest by which krew installs them.
func writePlugins(ctx context.Context, r release, b builds, dir string) error {
	if len(r.desktops) == 0 {
		return nil
	}
	own, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, pluginsDir), 0o755); err != nil {
		return err
	}
	var platforms []platform
	for _, desktop := range r.desktops {
		archive, p, err := pluginArchive(ctx, r, filepath.Join(b.dir, pluginsDir, desktop), desktop, own)
		if err != nil {
			return fmt.Errorf("pack kubectl imagecsi for %s: %w", desktop, err)
		}
		if err := os.WriteFile(filepath.Join(dir, pluginsDir, filepath.Base(p.URI)), archive, 0o644); err != nil {
			return err
		}
		platforms = append(platforms, p)
	}
	manifest, err := yaml.Marshal(map[string]any{
		"apiVersion": "krew.googlecontainertools.github.com/v1alpha2", "kind": "Plugin", "metadata": map[string]any{"name": pluginName},
		"spec": map[string]any{
			"version": r.tag(), "homepage": "https://github.com/image-csi/image-csi-operator", "platforms": platforms,
			"shortDescription": "Show image volumes and why pods wait for them",
			"description": "Shows the drivers, nodes and volumes of the image CSI operator, names the cause for which a pod waits\n" +
				"for an image volume, and what to do. It reads objects of the API server with its caller's rights.\n",
		},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, pluginsDir, pluginName+".yaml"), manifest, 0o644)
}

// entry is a file of an archive.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// pluginArchive packs the program for one desktop: a zip for Windows, and elsewhere what tar unpacks.
func pluginArchive(ctx context.Context, r release, from, desktop string, own []byte) ([]byte, platform, error) {
	system, architecture, _ := strings.Cut(desktop, "/")
	p := platform{Bin: plugin}
	p.Selector.MatchLabels = map[string]string{"os": system, "arch": architecture}
	write, extension := writeTar, ".tar.gz"
	if system == "windows" {
		p.Bin, write, extension = plugin+".exe", writeZip, ".zip"
	}
	program, err := os.ReadFile(filepath.Join(from, p.Bin))
	if err != nil {
		return nil, p, err
	}
	linked, err := modules([]string{filepath.Join(from, p.Bin)})
	if err != nil {
		return nil, p, err
	}
	others, err := notices(ctx, r.root, []string{"."}, linked)
	if err != nil {
		return nil, p, err
	}
	var out bytes.Buffer
	if err := write(&out, []entry{{p.Bin, 0o755, program}, {"LICENSE", 0o644, own}, {"NOTICES", 0o644, others}}); err != nil {
		return nil, p, err
	}
	p.URI = fmt.Sprintf("%s%s/%s_%s_%s_%s%s", downloads, r.tag(), plugin, r.tag(), system, architecture, extension)
	p.SHA256 = fmt.Sprintf("%x", sha256.Sum256(out.Bytes()))
	return out.Bytes(), p, nil
}

// writeTar writes a compressed tar. Equal files give equal bytes, in a zip as well: neither has a time.
func writeTar(out io.Writer, entries []entry) error {
	compressed := gzip.NewWriter(out)
	packed := tar.NewWriter(compressed)
	for _, e := range entries {
		if err := packed.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content))}); err != nil {
			return err
		}
		if _, err := packed.Write(e.content); err != nil {
			return err
		}
	}
	return errors.Join(packed.Close(), compressed.Close())
}

func writeZip(out io.Writer, entries []entry) error {
	packed := zip.NewWriter(out)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		header.SetMode(os.FileMode(e.mode))
		w, err := packed.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := w.Write(e.content); err != nil {
			return err
		}
	}
	return packed.Close()
}
