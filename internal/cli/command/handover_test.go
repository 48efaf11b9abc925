package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
)

func TestTheDriverOfAHandoverIsReadFromAFile(t *testing.T) {
	p := &program{}
	for says, text := range map[string]string{
		"":                     "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver, metadata: {name: a}, spec: {}}",
		"it is none of":        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}",
		"unknown field":        "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver, metadata: {name: a}, spec: {nope: 1}}",
		"is none of storage.i": "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver}",
	} {
		file := filepath.Join(t.TempDir(), "driver.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		driver, err := p.driverIn(file)
		if says == "" && (err != nil || driver.Name != "a") || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, error %v", text, driver, err)
		}
	}
	if _, err := p.driverIn("/no/such/file"); err == nil {
		t.Error("no error without a file")
	}
}

func TestFlagsOfAHandover(t *testing.T) {
	for _, c := range []struct {
		args []string
		code ExitCode
		says string
	}{
		{[]string{"-f", "x"}, ExitUsage, "-f is for --apply"},
		{[]string{"--back", "-f", "x"}, ExitUsage, "none of the others can be"},
		{[]string{"--apply"}, ExitCluster, "list the cluster's DaemonSets"},
		{[]string{"--back"}, ExitCluster, "list the cluster's DaemonSets"},
	} {
		code, out, said := run(t, append([]string{"migrate"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit code %d, output %q, message %q", c.args, code, out, said)
		}
	}
}

func TestWhatIsLeftToAPersonAfterAHandover(t *testing.T) {
	set := func(annotations map[string]string) handover.LegacySet {
		return handover.LegacySet{DaemonSet: &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "storage", Name: "nodes", Annotations: annotations}}}
	}
	release := map[string]string{reading.ReleaseName: "legacy", reading.ReleaseNamespace: "there"}
	for says, test := range map[string]struct {
		last    handover.Step
		objects handover.Objects
		asked   changes
		finds   bool
	}{
		"done: the legacy driver serves as before":                   {asked: changes{back: true}},
		"node a: keeps the legacy driver: docker":                    {last: handover.Step{Left: []handover.Left{{Node: "a", Why: "docker"}}}, finds: true},
		"done: there is no DaemonSet of the legacy driver":           {},
		"\n  helm --namespace there uninstall legacy\n":              {objects: handover.Objects{Sets: []handover.LegacySet{set(release)}}},
		"\n  kubectl --namespace storage delete daemonset nodes   (": {objects: handover.Objects{Sets: []handover.LegacySet{set(nil)}}},
	} {
		var out bytes.Buffer
		p := &program{streams: genericiooptions.IOStreams{Out: &out}}
		err := p.afterwards(test.last, test.objects, test.asked)
		if !strings.Contains(out.String(), says) || (err != nil) != test.finds {
			t.Errorf("%q: %v, output\n%s", says, err, &out)
		}
	}
}
