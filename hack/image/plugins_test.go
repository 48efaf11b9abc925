package main

import (
	"archive/zip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// desktop is the one of this machine.
const desktop = runtime.GOOS + "/" + runtime.GOARCH

// krew runs a program of krew's, with a directory of its own.
func krew(t *testing.T, root, program string, args ...string) string {
	t.Helper()
	pinned, err := filepath.Abs("../tools/krew/go.mod")
	must(t, err)
	command := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=" + pinned, program}, args...)...)
	command.Env = append(os.Environ(), "KREW_ROOT="+root, "KREW_NO_UPGRADE_CHECK=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", program, args, err, out)
	}
	return string(out)
}

// checkPlugin has krew itself check the manifest, and install the archive of this machine, whose program then runs.
func checkPlugin(t *testing.T, dir string) {
	root := t.TempDir()
	manifest := filepath.Join(dir, "imagecsi.yaml")
	krew(t, root, "validate-krew-manifest", "-manifest", manifest, "-skip-install")
	archive := filepath.Join(dir, "kubectl-imagecsi_v1.2.3_"+runtime.GOOS+"_"+runtime.GOARCH+".tar.gz")
	krew(t, root, "krew", "install", "--manifest="+manifest, "--archive="+archive)
	said, err := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "kubectl-imagecsi")).CombinedOutput()
	if err != nil || string(said) != "kubectl-imagecsi v1.2.3\n" {
		t.Errorf("the installed program says %q, %v", said, err)
	}
	for _, terms := range []string{"LICENSE", "NOTICES"} {
		if text := read(t, filepath.Join(root, "store", "imagecsi", "v1.2.3"), terms); text == "" {
			t.Errorf("%s is empty", terms)
		}
	}
	altered := filepath.Join(t.TempDir(), "imagecsi.yaml")
	must(t, os.WriteFile(altered, []byte(strings.ReplaceAll(read(t, dir, "imagecsi.yaml"), "sha256: ", "sha256: x")), 0o600))
	pinned, err := filepath.Abs("../tools/krew/go.mod")
	must(t, err)
	if out, err := exec.CommandContext(t.Context(), "go", "tool", "-modfile="+pinned, "validate-krew-manifest", "-manifest", altered, "-skip-install").CombinedOutput(); err == nil {
		t.Errorf("krew takes any manifest: %s", out)
	}
}

// TestEveryDesktopHasAnArchive has the same program stand for those of all systems that the Makefile names.
func TestEveryDesktopHasAnArchive(t *testing.T) {
	line := ""
	for l := range strings.Lines(read(t, "../..", "Makefile")) {
		if desktops, found := strings.CutPrefix(l, "DESKTOPS := "); found {
			line = desktops
		}
	}
	r := release{root: sources(t), version: "1.2.3", desktops: strings.Fields(line)}
	b := builds{t.TempDir()}
	must(t, compilePlugins(t.Context(), release{root: r.root, version: r.version, desktops: []string{desktop}}, b))
	made, err := os.ReadFile(filepath.Join(b.dir, pluginsDir, desktop, plugin))
	must(t, err)
	for _, d := range r.desktops {
		for _, name := range []string{plugin, plugin + ".exe"} {
			must(t, os.MkdirAll(filepath.Join(b.dir, pluginsDir, d), 0o755))
			must(t, os.WriteFile(filepath.Join(b.dir, pluginsDir, d, name), made, 0o755))
		}
	}
	dir := t.TempDir()
	must(t, writePlugins(t.Context(), r, b, dir))
	krew(t, t.TempDir(), "validate-krew-manifest", "-manifest", filepath.Join(dir, pluginsDir, "imagecsi.yaml"), "-skip-install")
	entries, err := os.ReadDir(filepath.Join(dir, pluginsDir))
	must(t, err)
	if len(r.desktops) != 6 || len(entries) != 7 {
		t.Errorf("%d desktops have %d files", len(r.desktops), len(entries))
	}
	packed, err := zip.OpenReader(filepath.Join(dir, pluginsDir, "kubectl-imagecsi_v1.2.3_windows_amd64.zip"))
	must(t, err)
	defer packed.Close()
	if packed.File[0].Name != "kubectl-imagecsi.exe" || packed.File[0].Mode() != 0o755 || len(packed.File) != 3 {
		t.Errorf("the archive for Windows begins with %s, %s, of %d files", packed.File[0].Name, packed.File[0].Mode(), len(packed.File))
	}
}
