package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Without a cluster there still is what follows from the values.
func TestMigratePrintsAManifestAndSaysWhatChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte("{logLevel: 5, csiPlugin: {hostNetwork: true}, crioMountProgram: /usr/bin/fuse-overlayfs}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string][]string{
		"table": {"kind: ImageCSIDriver\n", "    logLevel: Debug\n", "    network: Host\n"},
		"json":  {`"kind":"ImageCSIDriver"`, `"logLevel":"Debug"`},
	} {
		code, out, said := run(t, "migrate", "--values", file, "-o", format)
		if code != ExitWell {
			t.Errorf("-o %s: exit code %d, message %q", format, code, said)
		}
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("-o %s: no %q in %s", format, text, out)
			}
		}
		for _, note := range []string{"not read: ", "no equal: crioMountProgram: ", "becomes: logLevel: spec.nodePlugin.logLevel: Debug\n"} {
			if !strings.Contains(said, note) || strings.Contains(out, note) {
				t.Errorf("-o %s: no note %q in %s", format, note, said)
			}
		}
	}
}

func TestMigrateSaysWhatItCannotRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte("- no\n- map\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code ExitCode
		says string
	}{
		{[]string{"--values", filepath.Join(t.TempDir(), "none")}, ExitUsage, "read the values: open"},
		{[]string{"--values", file}, ExitUsage, "read the values in " + file},
		{[]string{"--values", file, "--release", "x"}, ExitUsage, "none of the others can be"},
		{[]string{"-o", "wide"}, ExitUsage, "choose -o yaml or -o json"},
		{nil, ExitCluster, "--values"},
	} {
		code, out, said := run(t, append([]string{"migrate"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit code %d, output %q, message %q", c.args, code, out, said)
		}
	}
}
