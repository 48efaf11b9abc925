package install

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	// takesEffect is more than an API server takes to put a policy into effect.
	takesEffect = 2 * time.Minute

	// guarded is what the refusal of an uninstall says to do first.
	guarded = `first run "kubectl delete imagecsidrivers --all"`

	// ofTheOperator lists what an installation leaves, if anything, outside its namespaces.
	ofTheOperator = "kubectl get customresourcedefinitions,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings -o name " +
		"| grep -e image-csi -e imagecsi || true"
)

// tryHelm installs, changes and removes releases of the chart, one after the other. It takes about a minute and a half on an idle machine.
func tryHelm(t *testing.T, p *plane) {
	for _, step := range []struct {
		name string
		run  func(*testing.T, *plane)
	}{
		{"a failed install is repeated by the same command", failedInstall},
		{"a release in namespaces of its own is upgraded with its definition, rolled back, and uninstalled after its drivers", lifeOfARelease},
		{"a namespace that a release left is taken by the next", leftNamespace},
		{"in one namespace, the notes say what it lacks", oneNamespace},
		{"what kubectl installed becomes a release", adoption},
		{"a release of the legacy driver becomes a driver", fromTheLegacyDriver},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, p) }) {
			t.FailNow()
		}
		p.leavesNothing(t)
	}
}

// leavesNothing waits until nothing of the operator is left: a definition goes a moment after it was deleted.
func (p *plane) leavesNothing(t *testing.T) {
	t.Helper()
	poll.Until(t, "the end of what an uninstall deletes", time.Minute, func() error {
		left, err := p.sh(t.Context(), ofTheOperator)
		if err == nil && left != "" {
			err = fmt.Errorf("still there: %s", left)
		}
		return err
	})
}

// chart is the release's. lifeOfARelease takes it from the registry.
var chart = "image-csi-operator-" + version + ".tgz"

func failedInstall(t *testing.T, p *plane) {
	install := "helm upgrade --install images " + chart + " --namespace failing --create-namespace --set nodePlugin.namespace=failing-mounts "
	p.refused(t, install+"--set monitoring.enabled=true", "ServiceMonitor")
	p.want(t, "helm list --all-namespaces --short", "")
	p.refused(t, install+`--set-json 'podLabels={"not a label": "x"}'`, "not a label")
	p.want(t, "helm list --namespace failing --failed --short", "images")
	p.must(t, install)
	p.want(t, "helm list --namespace failing --deployed --short", "images")
	p.must(t, "helm uninstall images --namespace failing")
}

// older is the chart as of an earlier release, whose definition has another field.
func older(t *testing.T, p *plane) string {
	t.Helper()
	pulled := t.TempDir()
	p.must(t, "helm pull "+p.published()+" --untar --untardir "+pulled)
	dir := filepath.Join(pulled, "image-csi-operator")
	for file, change := range map[string][2]string{
		"Chart.yaml": {"\nversion: " + version, "\nversion: 0.0.9"},
		"templates/customresourcedefinition-imagecsidrivers.storage.imagecsi.dev.yaml": {" otherPlatforms:", " olderField:"},
	} {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(changed, text) {
			t.Fatalf("%s has no %q", file, change[0])
		}
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// published is the chart in the registry.
func (p *plane) published() string {
	return "oci://" + p.registry + "/image-csi/charts/image-csi-operator --version " + version + " --plain-http"
}

func lifeOfARelease(t *testing.T, p *plane) {
	const in = " --namespace pictures"
	said := p.must(t, "helm install images "+older(t, p)+in+" --create-namespace --set nodePlugin.namespace=mounts")
	for _, command := range commands(said) {
		p.must(t, command)
	}
	const replicas = "kubectl -n pictures get deployment image-csi-operator -o jsonpath={.spec.replicas}"
	const field = "kubectl explain imagecsidriver.spec.volumes.otherPlatforms"
	p.refused(t, field, "does not exist")
	p.must(t, "kubectl wait --for=create --timeout=60s validatingadmissionpolicybinding/image-csi-uninstall")
	uid := p.must(t, "kubectl get imagecsidrivers -o jsonpath={.items[*].metadata.uid}")

	said = p.must(t, "helm upgrade images "+p.published()+in+" --reset-then-reuse-values --set replicas=2")
	if strings.Contains(said, "pod-security") {
		t.Errorf("the namespace has its level, and the notes still ask for it:\n%s", said)
	}
	p.want(t, replicas, "2")
	p.must(t, field)
	p.must(t, "helm rollback images"+in)
	p.want(t, replicas, "1")
	p.must(t, "helm upgrade images "+chart+in+" --reset-then-reuse-values")
	p.want(t, "kubectl get imagecsidrivers -o jsonpath={.items[*].metadata.uid}", uid)

	uninstallsAfterItsDrivers(t, p)
	p.want(t, "kubectl get namespace mounts -o name", "namespace/mounts")
	p.want(t, "kubectl -n mounts get roles,rolebindings,serviceaccounts -l app.kubernetes.io/part-of=image-csi-operator -o name", "")
	p.want(t, "kubectl -n pictures get deployments,serviceaccounts -l app.kubernetes.io/part-of=image-csi-operator -o name", "")
	p.must(t, "kubectl delete namespace pictures")
}

// uninstallsAfterItsDrivers tries every command that would take the operator from its driver, and then the right ones.
func uninstallsAfterItsDrivers(t *testing.T, p *plane) {
	t.Helper()
	const in, parts = " --namespace pictures", "helm get manifest images --namespace pictures | kubectl get -f - -o name"
	poll.Until(t, "the guard holds", takesEffect, func() error {
		if _, err := p.sh(t.Context(), "! kubectl delete namespace pictures --dry-run=server"); err != nil {
			return err
		}
		return nil
	})
	whole := p.must(t, parts)
	for _, command := range []string{
		"helm uninstall images" + in,
		"kubectl delete namespace pictures", "kubectl delete namespace mounts",
		"kubectl -n pictures delete deployment image-csi-operator",
		"kubectl delete customresourcedefinition imagecsidrivers.storage.imagecsi.dev",
	} {
		p.refused(t, command, guarded, "ImageCSIDriver container-image.csi.k8s.io still exists")
		p.want(t, parts, whole)
	}
	p.want(t, "helm list --deployed --short"+in, "images")

	// Without the definition there would be no driver.
	p.refused(t, "helm upgrade images "+chart+in+" --reset-then-reuse-values --set crds.install=false", guarded)
	p.must(t, "helm upgrade images "+chart+in+" --reset-then-reuse-values --set crds.install=true")
	p.want(t, parts, whole)

	// Without the hook, Helm deletes what nothing guards, and notes that it is about to delete the release.
	p.refused(t, "helm uninstall images --no-hooks"+in, "failed to delete release")
	p.must(t, `helm rollback images "$(helm history images -o json`+in+` | sed -E 's/.*"revision":([0-9]+).*/\1/')"`+in)
	p.want(t, parts, whole)

	left := p.must(t, "kubectl imagecsi uninstall --apply --timeout=60s")
	if !strings.Contains(left, "do: helm uninstall images"+in) {
		t.Errorf("the release is not what is left to remove:\n%s", left)
	}
	p.must(t, "helm uninstall images"+in)
}

// commands are those in a release's notes.
func commands(notes string) []string {
	var all []string
	for _, line := range regexp.MustCompile(`(?m)^  (echo|kubectl) .*$`).FindAllString(notes, -1) {
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

func leftNamespace(t *testing.T, p *plane) {
	p.must(t, "kubectl create namespace pictures")
	p.must(t, "helm install images "+chart+" --namespace pictures --set nodePlugin.namespace=mounts") // of the release of that name
	p.must(t, "helm uninstall images --namespace pictures")
	other := "helm install others " + chart + " --namespace pictures --set nodePlugin.namespace=mounts"
	p.refused(t, other, `Namespace "mounts"`, "cannot be imported into the current release")
	p.must(t, other+" --take-ownership")
	p.must(t, "helm uninstall others --namespace pictures")
}

func oneNamespace(t *testing.T, p *plane) {
	said := p.must(t, "helm install images "+chart+" --namespace one --create-namespace --set nodePlugin.namespace=one")
	if !strings.Contains(said, "pod-security.kubernetes.io/enforce=privileged") {
		t.Fatalf("the notes do not ask for the level privileged:\n%s", said)
	}
	for _, command := range commands(said) {
		p.must(t, command)
	}
	p.must(t, "kubectl delete imagecsidrivers --all")
	said = p.must(t, "helm upgrade images "+chart+" --namespace one --reuse-values")
	if strings.Contains(said, "pod-security") {
		t.Errorf("the namespace has its level, and the notes still ask for it:\n%s", said)
	}
	p.must(t, "helm uninstall images --namespace one")
}

func adoption(t *testing.T, p *plane) {
	p.must(t, "kubectl apply --server-side -k config/default")
	install := "helm upgrade --install image-csi-operator " + chart + " --namespace image-csi-operator --set replicas=2 "
	p.refused(t, install, "cannot be imported into the current release")
	p.refused(t, install+"--take-ownership", "conflict with", ".spec.replicas")
	p.must(t, install+"--take-ownership --force-conflicts")
	p.want(t, "kubectl -n image-csi-operator get deployment image-csi-operator -o jsonpath={.spec.replicas}", "2")
	p.must(t, "helm uninstall image-csi-operator --namespace image-csi-operator")
	p.must(t, "kubectl delete namespace image-csi-operator image-csi-system")
}
