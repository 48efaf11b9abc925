package command

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// run runs a command line without a cluster.
func run(t *testing.T, args ...string) (code ExitCode, out, said string) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var outBuffer, saidBuffer bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &outBuffer, ErrOut: &saidBuffer}
	code = Run(t.Context(), streams, "v1.2.3", args)
	return code, outBuffer.String(), saidBuffer.String()
}

func TestAWrongCommandLineHasAnExitCodeAndASentence(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"no-such-command"}, "no-such-command"},
		{[]string{"version", "--no-such-flag"}, "no-such-flag"},
		{[]string{"version", "and-more"}, "and-more"},
		{[]string{"version", "-o", "xml"}, `"xml" is not one of table, wide, json, yaml, name`},
	} {
		code, out, said := run(t, c.args...)
		if code != ExitUsage || out != "" || !strings.HasPrefix(said, "error: ") || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit code %d, output %q, message %q", c.args, code, out, said)
		}
	}
}

func TestVersionNeedsNoCluster(t *testing.T) {
	for format, want := range map[string]string{
		"table": "Client Version: v1.2.3 (",
		"json":  `"clientVersion": "v1.2.3"`,
		"yaml":  "apiVersion: cli.imagecsi.dev/v1alpha1\nclientVersion: v1.2.3\nkind: Version\n",
		"name":  "version/v1.2.3\n",
	} {
		code, out, said := run(t, "version", "-o", format)
		if code != ExitWell || said != "" || !strings.Contains(out, want) {
			t.Errorf("-o %s: exit code %d, message %q, output %q", format, code, said, out)
		}
	}
}

func TestEveryShellHasItsCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, said := run(t, "completion", shell); code != ExitWell || !strings.Contains(out, "imagecsi") {
			t.Errorf("%s: exit code %d, message %q", shell, code, said)
		}
	}
}
