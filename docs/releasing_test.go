package docs_test

import (
	"regexp"
	"strings"
	"testing"
)

func TestEveryPlaceThatReleasingNamesHasTheSameVersion(t *testing.T) {
	version := regexp.MustCompile(`(?m)^VERSION \?= (\d+\.\d+\.\d+)$`).FindStringSubmatch(page(t, "../Makefile"))
	if version == nil {
		t.Fatal("the Makefile has no VERSION")
	}
	text := page(t, "releasing.md")
	for _, place := range []struct{ file, line string }{
		{"config/manager/kustomization.yaml", "newTag: v%"},
		{"config/catalog/template.yaml", "- image: ghcr.io/image-csi/image-csi-operator-bundle:v%"},
		{"config/olm/catalog_source.yaml", "image: ghcr.io/image-csi/image-csi-operator-catalog:v%"},
		{"config/samples/storage_v1alpha1_imagecsidriver_full.yaml", "image: ghcr.io/image-csi/image-csi-operator:v%"},
		{"hack/cluster/project/project.go", `Tag = "v%"`},
		{"docs/kubectl.md", "kubectl krew install --manifest=kubectl/imagecsi.yaml --archive=kubectl/kubectl-imagecsi_v%_linux_amd64.tar.gz"},
		{"docs/install/helm.md", `helm install image-csi-operator oci://registry.example/charts/image-csi-operator --version % \`},
	} {
		if !strings.Contains(text, "| `"+place.file+"` |") {
			t.Errorf("releasing.md does not name %s", place.file)
		}
		want := strings.ReplaceAll(place.line, "%", version[1])
		has := false
		for line := range strings.Lines(page(t, "../"+place.file)) {
			has = has || strings.Join(strings.Fields(line), " ") == want
		}
		if !has {
			t.Errorf("%s lacks the line %q", place.file, want)
		}
	}
}
