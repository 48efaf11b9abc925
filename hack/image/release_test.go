package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const testRepository = "registry.example/image-csi/image-csi-operator"

// sources are those of small programs, which stand for the project's own: building these for two architectures takes minutes.
// Everything else that a release is made from is the checkout's.
func sources(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, file), []byte(text), 0o644))
	}
	write("go.mod", "module example.com/operator\n\ngo 1.26.0\n")
	write("LICENSE", "the terms")
	write("Makefile", "build:\n\tgo build -trimpath -buildvcs=false -ldflags='-s -w -X main.version=v$(VERSION)' -o $(OUT)/ ./cmd/...\n"+
		"kubectl-plugin:\n\tgo build -trimpath -buildvcs=false -ldflags='-s -w -X main.version=v$(VERSION)' -o $(OUT)/$(DESKTOPS)/ ./cmd/kubectl-imagecsi\n")
	for _, program := range append(operator().programs, plugin) {
		program = strings.TrimPrefix(program, "/")
		write("cmd/"+program+"/main.go", "package main\n\nvar version string\n\nfunc main() { println(\""+program+"\", version) }\n")
	}
	checkout, err := filepath.Abs("../..")
	must(t, err)
	must(t, os.CopyFS(filepath.Join(root, "config"), os.DirFS(filepath.Join(checkout, "config"))))
	write("cmd/must-gather/go.mod", "module example.com/operator/cmd/must-gather\n\ngo 1.26.0\n")
	write("cmd/must-gather/main.go", "package main\n\nfunc main() { println(\"a shell\") }\n")
	for _, file := range []string{"gather", "links"} {
		write("cmd/must-gather/"+file, read(t, checkout, "cmd/must-gather/"+file))
	}
	must(t, os.MkdirAll(filepath.Join(root, "hack"), 0o755))
	must(t, os.Symlink(filepath.Join(checkout, "hack", "tools"), filepath.Join(root, "hack", "tools")))
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func indexOf(t *testing.T, dir string, p product) (v1.ImageIndex, v1.Hash) {
	t.Helper()
	whole, err := layout.ImageIndexFromPath(filepath.Join(dir, p.dir))
	must(t, err)
	list, err := whole.IndexManifest()
	must(t, err)
	for _, descriptor := range list.Manifests {
		if descriptor.Annotations[refName] == "v1.2.3" {
			index, err := whole.ImageIndex(descriptor.Digest)
			must(t, err)
			return index, descriptor.Digest
		}
	}
	t.Fatalf("no image is named v1.2.3: %v", list.Manifests)
	return nil, v1.Hash{}
}

// (11 s, when the standard library has been built for both architectures, and krew)
func TestAReleaseIsMadeTwiceToOneDigestAndPushed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dist")
	must(t, makeRelease(t.Context(), release{root: sources(t), dir: dir, version: "1.2.3", repository: testRepository, architectures: architectures, desktops: []string{desktop}}))
	index, digest := indexOf(t, dir, operator())
	gathering, gathererDigest := indexOf(t, dir, gatherer())

	t.Run("again from elsewhere, in its place", func(t *testing.T) {
		before := read(t, dir, marker)
		must(t, makeRelease(t.Context(), release{root: sources(t), dir: dir, version: "1.2.3", repository: testRepository, architectures: architectures, desktops: []string{desktop}}))
		_, other := indexOf(t, dir, operator())
		_, otherGatherer := indexOf(t, dir, gatherer())
		if other != digest || otherGatherer != gathererDigest {
			t.Errorf("the digests are %s and %s, and were %s and %s", other, otherGatherer, digest, gathererDigest)
		}
		if after := read(t, dir, marker); after != before {
			t.Errorf("sums differ:\n%s\n%s", before, after)
		}
	})
	t.Run("sums", func(t *testing.T) {
		command := exec.Command("sha256sum", "--check", "--quiet", "--strict", marker)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("every architecture", func(t *testing.T) {
		checkArchitectures(t, index, operator())
		checkArchitectures(t, gathering, gatherer())
	})
	t.Run("only the must-gather image has a shell", func(t *testing.T) { checkShell(t, index, gathering) })
	t.Run("manifests name the digest", func(t *testing.T) {
		want := testRepository + "@" + digest.String()
		for file, times := range map[string]int{"install.yaml": 3, "config/samples/storage_v1alpha1_imagecsidriver_full.yaml": 1, "bundle/manifests/image-csi-operator.clusterserviceversion.yaml": 3} {
			text := read(t, dir, file)
			if got := strings.Count(text, want); got < times {
				t.Errorf("%s names %s %d times, want %d or more", file, want, got, times)
			}
			if strings.Contains(text, ":v0.") || strings.Contains(text, "ghcr.io") {
				t.Errorf("%s names another image, too", file)
			}
		}
	})
	t.Run("the bundle and the catalog name the must-gather image", func(t *testing.T) {
		want := testRepository + "-must-gather@" + gathererDigest.String()
		for file, times := range map[string]int{"bundle/manifests/image-csi-operator.clusterserviceversion.yaml": 2, "catalog/image-csi-operator/catalog.yaml": 2} {
			if got := strings.Count(read(t, dir, file), want); got != times {
				t.Errorf("%s names %s %d times, want %d", file, want, got, times)
			}
		}
	})
	t.Run("the kustomizations are the manifests", func(t *testing.T) {
		built, err := kustomize(t.Context(), "../..", filepath.Join(dir, "config", "default"))
		must(t, err)
		if string(built) != read(t, dir, "install.yaml") {
			t.Errorf("config/default of the release is not its install.yaml:\n%.2000s", built)
		}
		if samples := strings.Count(read(t, dir, "console.yaml"), "\n  yaml: |\n    #"); samples != 3 {
			t.Errorf("console.yaml has %d samples that are texts of config/samples, want 3", samples)
		}
		for _, part := range kustomizations {
			if part != "single-namespace" { // which is a component
				_, err := kustomize(t.Context(), "../..", filepath.Join(dir, "config", part))
				must(t, err)
			}
		}
	})
	t.Run("the chart names the digest", func(t *testing.T) {
		command := exec.Command("tar", "--extract", "--to-stdout", "--file", filepath.Join(dir, "image-csi-operator-1.2.3.tgz"), "image-csi-operator/values.yaml")
		values, err := command.Output()
		must(t, err)
		for _, want := range []string{"repository: " + testRepository + "\n", "tag: v1.2.3\n", "digest: " + digest.String() + "\n"} {
			if !strings.Contains(string(values), want) {
				t.Errorf("its values lack %q", want)
			}
		}
	})
	t.Run("a catalog names the bundle's image, and config/olm the catalog's", func(t *testing.T) { checkOLM(t, dir) })
	t.Run("krew installs kubectl imagecsi", func(t *testing.T) { checkPlugin(t, filepath.Join(dir, pluginsDir)) })
	t.Run("pushed", func(t *testing.T) { checkPush(t, dir, map[string]v1.Hash{"": digest, "-must-gather": gathererDigest}) })
}

func read(t *testing.T, dir, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	must(t, err)
	return string(text)
}

func checkArchitectures(t *testing.T, index v1.ImageIndex, p product) {
	t.Helper()
	list, err := index.IndexManifest()
	must(t, err)
	var found []string
	for _, descriptor := range list.Manifests {
		found = append(found, descriptor.Platform.String())
		image, err := index.Image(descriptor.Digest)
		must(t, err)
		config, err := image.ConfigFile()
		must(t, err)
		if config.Architecture != descriptor.Platform.Architecture || config.Config.User != "65532:65532" || config.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" {
			t.Errorf("the image for %s says %s, user %s, labels %v", descriptor.Platform, config.Architecture, config.Config.User, config.Config.Labels)
		}
		if len(config.RootFS.DiffIDs) != 1+len(p.programs) {
			t.Errorf("the image for %s has %d layers", descriptor.Platform, len(config.RootFS.DiffIDs))
		}
	}
	if got := strings.Join(found, " "); got != "linux/amd64 linux/arm64" {
		t.Errorf("the index is for %s", got)
	}
}

// checkShell wants a shell and what oc calls in one image for each architecture, and no shell in the other.
func checkShell(t *testing.T, operator, gathering v1.ImageIndex) {
	t.Helper()
	list, err := gathering.IndexManifest()
	must(t, err)
	for _, descriptor := range list.Manifests {
		image, err := gathering.Image(descriptor.Digest)
		must(t, err)
		found := entriesOf(t, image)
		for name, target := range map[string]string{
			"bin/bash": "/usr/bin/must-gather", "bin/sh": "/usr/bin/must-gather", "usr/bin/tar": "/usr/bin/must-gather", "usr/bin/must-gather": "",
			"usr/bin/kubectl-imagecsi": "", "usr/bin/gather": "", "licenses/LICENSE": "", "licenses/NOTICES": "",
		} {
			header := found[name]
			if header == nil || header.Linkname != target || strings.HasPrefix(name, "usr/") && target == "" && header.Mode != 0o755 {
				t.Errorf("the image for %s has as %s %+v", descriptor.Platform, name, header)
			}
		}
		if got, want := fileIn(t, image, "usr/bin/gather"), read(t, "../../cmd/must-gather", "gather"); got != want {
			t.Errorf("the image for %s gathers by %q", descriptor.Platform, got)
		}
	}
	list, err = operator.IndexManifest()
	must(t, err)
	for _, descriptor := range list.Manifests {
		image, err := operator.Image(descriptor.Digest)
		must(t, err)
		for name := range entriesOf(t, image) {
			if base := path.Base(name); base == "sh" || base == "bash" || base == "must-gather" {
				t.Errorf("the operator's image for %s has %s", descriptor.Platform, name)
			}
		}
	}
}

// entriesOf are the files of an image.
func entriesOf(t *testing.T, made v1.Image) map[string]*tar.Header {
	t.Helper()
	content := mutate.Extract(made)
	defer content.Close()
	found := map[string]*tar.Header{}
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		must(t, err)
		found[header.Name] = header
	}
}

func checkPush(t *testing.T, dir string, images map[string]v1.Hash) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true)))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/image-csi/image-csi-operator"
	for range 2 { // again is no error
		must(t, push(t.Context(), dir, repository, true))
	}
	for suffix, digest := range images {
		tag, err := name.NewTag(repository+suffix+":v1.2.3", name.Insecure)
		must(t, err)
		index, err := remote.Index(tag)
		must(t, err)
		if got, err := index.Digest(); err != nil || got != digest {
			t.Errorf("the tag of %s names %s (%v), want %s", tag, got, err, digest)
		}
		checkInventories(t, tag, index)
	}
	for _, kind := range []string{"bundle", "catalog"} {
		beside, err := name.NewTag(repository+"-"+kind+":v1.2.3", name.Insecure)
		must(t, err)
		made, err := remote.Image(beside)
		must(t, err)
		if _, err := remote.Image(beside.Digest(namedInOLM(t, dir, kind))); err != nil {
			t.Error(err)
		}
		if got, err := made.Digest(); err != nil || got.String() != namedInOLM(t, dir, kind) {
			t.Errorf("%s is %s (%v), want %s", beside, got, err, namedInOLM(t, dir, kind))
		}
	}
	checkChart(t, dir, strings.TrimPrefix(server.URL, "http://")+"/image-csi/charts/image-csi-operator:1.2.3")
}

// checkInventories wants of each image in an index that its inventory refers to it.
func checkInventories(t *testing.T, tag name.Tag, index v1.ImageIndex) {
	t.Helper()
	list, err := index.IndexManifest()
	must(t, err)
	for _, descriptor := range list.Manifests {
		about, err := remote.Referrers(tag.Digest(descriptor.Digest.String()))
		must(t, err)
		referring, err := about.IndexManifest()
		must(t, err)
		if len(referring.Manifests) != 1 || referring.Manifests[0].ArtifactType != string(inventoryType) {
			t.Fatalf("to the image for %s refer %v, want its inventory", descriptor.Platform, referring.Manifests)
		}
		image, err := remote.Image(tag.Digest(referring.Manifests[0].Digest.String()))
		must(t, err)
		layers, err := image.Layers()
		must(t, err)
		content, err := layers[0].Compressed()
		must(t, err)
		var document struct {
			BOMFormat  string
			Components []struct{ Name string }
		}
		must(t, json.NewDecoder(content).Decode(&document))
		if document.BOMFormat != "CycloneDX" || len(document.Components) != 1 || document.Components[0].Name != "stdlib" {
			t.Errorf("the inventory of %s is %+v", descriptor.Platform, document)
		}
	}
}

// namedInOLM is the digest by which a release's files name one of the images for OLM.
func namedInOLM(t *testing.T, dir, kind string) string {
	t.Helper()
	file := map[string]string{"bundle": "catalog/image-csi-operator/catalog.yaml", "catalog": "config/olm/catalog_source.yaml"}[kind]
	found := regexp.MustCompile(`(?m)image: ` + regexp.QuoteMeta(testRepository+"-"+kind) + `@(sha256:[0-9a-f]{64})$`).FindStringSubmatch(read(t, dir, file))
	if found == nil {
		t.Fatalf("%s does not name the image of the %s:\n%.600s", file, kind, read(t, dir, file))
	}
	return found[1]
}

// checkOLM wants one version in all that OLM reads, and the images' files as they are in the release.
func checkOLM(t *testing.T, dir string) {
	t.Helper()
	for _, want := range []string{"name: image-csi-operator.v1.2.3\n", "skipRange: <1.2.3\n", "version: 1.2.3\n", "blob/v1.2.3/docs/install/olm.md"} {
		for _, file := range []string{"bundle/manifests/image-csi-operator.clusterserviceversion.yaml", "catalog/image-csi-operator/catalog.yaml"} {
			if !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(read(t, dir, file), "'", ""), `"`, ""), want) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
	}
	whole, err := layout.ImageIndexFromPath(filepath.Join(dir, olmDir))
	must(t, err)
	for kind, file := range map[string]string{"bundle": "manifests/image-csi-operator.clusterserviceversion.yaml", "catalog": "configs/image-csi-operator/catalog.yaml"} {
		digest, err := v1.NewHash(namedInOLM(t, dir, kind))
		must(t, err)
		made, err := whole.Image(digest)
		must(t, err)
		config, err := made.ConfigFile()
		must(t, err)
		label := map[string]string{"bundle": "operators.operatorframework.io.bundle.package.v1", "catalog": configsLabel}[kind]
		if config.Config.Labels[label] == "" {
			t.Errorf("the image of the %s lacks the label %s: %v", kind, label, config.Config.Labels)
		}
		if got := fileIn(t, made, file); got != read(t, dir, kind+"/"+strings.TrimPrefix(file, "configs/")) {
			t.Errorf("%s in the image of the %s is not the release's", file, kind)
		}
	}
}

func fileIn(t *testing.T, made v1.Image, file string) string {
	t.Helper()
	content := mutate.Extract(made)
	defer content.Close()
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		if err != nil {
			t.Fatalf("find %s: %v", file, err)
		}
		if header.Name == file {
			text, err := io.ReadAll(files)
			must(t, err)
			return string(text)
		}
	}
}

// checkChart wants a chart in a registry as the release has it, and what Helm reads of it before.
func checkChart(t *testing.T, dir, reference string) {
	t.Helper()
	tag, err := name.NewTag(reference, name.Insecure)
	must(t, err)
	chart, err := remote.Image(tag)
	must(t, err)
	manifest, err := chart.Manifest()
	must(t, err)
	if manifest.Config.MediaType != chartConfigType || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != chartContentType {
		t.Fatalf("the chart's manifest is %+v", manifest)
	}
	config, err := chart.RawConfigFile()
	must(t, err)
	var metadata struct{ Name, Version, AppVersion string }
	must(t, json.Unmarshal(config, &metadata))
	if metadata.Name != imageName || metadata.Version != "1.2.3" || metadata.AppVersion != "v1.2.3" {
		t.Errorf("the chart's configuration is %s", config)
	}
	layer, err := chart.LayerByDigest(manifest.Layers[0].Digest)
	must(t, err)
	content, err := layer.Compressed()
	must(t, err)
	pushed, err := io.ReadAll(content)
	must(t, err)
	if string(pushed) != read(t, dir, "image-csi-operator-1.2.3.tgz") {
		t.Error("the chart that is pushed is not the release's")
	}
}

func TestWhatIsNoReleaseIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644))
	if err := replace(t.TempDir(), dir); err == nil || !strings.Contains(err.Error(), "is no release and not empty") {
		t.Errorf("error = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mine")); err != nil {
		t.Error(err)
	}
}

func TestFormsOfVersionAndRepository(t *testing.T) {
	for _, bad := range []release{
		{version: "v1.2.3", repository: testRepository}, {version: "1.2", repository: testRepository}, {version: "", repository: testRepository},
		{version: "1.2.3", repository: testRepository + ":v1"}, {version: "1.2.3", repository: testRepository + "@sha256:0"},
		{version: "1.2.3", repository: testRepository, architectures: []string{"amd64", "riscv64"}}, {version: "1.2.3", repository: testRepository, architectures: []string{""}},
		{version: "1.2.3", repository: "image-csi-operator"}, {version: "1.2.3"}, {version: "1.2.3", repository: "https://registry.example/a"},
	} {
		if err := bad.check(); err == nil {
			t.Errorf("version %q, repository %q and architectures %q are accepted", bad.version, bad.repository, bad.architectures)
		}
	}
	for _, good := range []release{{version: "1.2.3", repository: testRepository}, {version: "1.2.3-rc.1", repository: "127.0.0.1:5000/a/b_c"}} {
		if err := good.check(); err != nil {
			t.Error(err)
		}
	}
}

func TestAModuleWithoutTermsIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := termsIn(dir); err == nil {
		t.Error("a module without terms is accepted")
	}
	for _, name := range []string{"LICENSE.md", "license_test.go", "NOTICE", "README.md", "COPYING"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	files, err := termsIn(dir)
	must(t, err)
	if got, want := strings.Join(files, " "), dir+"/COPYING "+dir+"/LICENSE.md "+dir+"/NOTICE"; got != want {
		t.Errorf("terms are in %s, want %s", got, want)
	}
	if _, err := notices(t.Context(), "../..", []string{".", "cmd/must-gather"}, []debug.Module{{Path: "example.com/unknown", Version: "v1.0.0"}}); err == nil {
		t.Error("a module that the checkout does not have is accepted")
	}
}

// Each module's list has modules that only the other links, without their directories.
func TestTermsAreThoseOfEveryModuleOfAnImage(t *testing.T) {
	var linked []debug.Module
	for _, from := range []struct{ module, path string }{{"../..", "github.com/google/uuid"}, {"../../cmd/must-gather", "github.com/u-root/u-root"}} {
		dirs, err := moduleDirs(t.Context(), from.module)
		must(t, err)
		for key := range dirs {
			if name, version, _ := strings.Cut(key, "@"); name == from.path {
				linked = append(linked, debug.Module{Path: name, Version: version})
			}
		}
	}
	for _, below := range [][]string{{".", "cmd/must-gather"}, {"cmd/must-gather", "."}} {
		text, err := notices(t.Context(), "../..", below, linked)
		must(t, err)
		if got := strings.Count("\n"+string(text), "\n==== "); got != len(linked) || got != 2 {
			t.Errorf("there are terms of %d modules, want those of %v", got, linked)
		}
	}
}

func TestCertificatesAreManyAndReadable(t *testing.T) {
	text, err := certificates()
	must(t, err)
	count := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		count++
	}
	if count < 100 || count != bytes.Count(text, []byte("BEGIN CERTIFICATE")) {
		t.Errorf("%d root certificates", count)
	}
}
