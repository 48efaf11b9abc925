package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/image-csi/image-csi-operator/docs/blocks"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	olmModule = "github.com/operator-framework/operator-lifecycle-manager"

	// newerVersion is that of a second release of the same sources.
	newerVersion = "0.1.1"

	// inOLM is the namespace of an installation by OLM.
	inOLM = "kubectl -n image-csi-system "

	// stays is how long what must not happen is waited for.
	stays = 20 * time.Second
)

// TestOLM goes the way of docs/install/olm.md with two releases, a real node and the real Operator Lifecycle Manager, whose operators,
// catalog pods and unpack jobs run in the cluster. It takes five minutes on an idle machine, and ten more to build OLM the first time.
func TestOLM(t *testing.T) {
	p := onNode(t, "olm")
	t.Cleanup(func() { p.explain(t) })
	installOLM(t, p)
	p.nameCatalog(t)

	newer := *p
	newer.release = p.made(t, newerVersion)
	tryOLM(t, p, &newer)
}

// tryOLM installs, upgrades and removes the operator. The cluster has the kinds of OpenShift's console.
func tryOLM(t *testing.T, p, newer *plane) {
	console := filepath.Join(p.moduleOfOLM(t, "github.com/openshift/api"), "console", "v1", "zz_generated.crd-manifests", "00_console")
	p.must(t, "kubectl create -f "+console+"yamlsamples.crd.yaml -f "+console+"quickstarts.crd.yaml && kubectl wait --for=condition=Established --timeout=1m customresourcedefinition --all")
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"installed", func(t *testing.T) { p.section(t, ""); installedByOLM(t, p) }},
		{"collected by the image that the ClusterServiceVersion names", func(t *testing.T) { gatheredWithOLM(t, p) }},
		{"a change of a driver holds an upgrade", func(t *testing.T) { heldUpgrade(t, p, newer) }},
		{"upgraded", func(t *testing.T) { newer.section(t, "Upgrade"); upgradedByOLM(t, p) }},
		{"guarded while there is a driver", func(t *testing.T) { guardedByOLM(t, newer) }},
		{"uninstalled", func(t *testing.T) { newer.section(t, "Uninstall"); p.leavesNothing(t) }},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow()
		}
	}
}

// section runs the commands of a section of OLM's page, those of pods where there is a kubelet. The first has no heading.
func (p *plane) section(t *testing.T, heading string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/install/olm.md")
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, part := range strings.Split(string(text), "\n## ") {
		title, _, _ := strings.Cut(part, "\n")
		if strings.HasPrefix(title, "# ") {
			title = ""
		}
		if title != heading {
			continue
		}
		for _, block := range blocks.Of(part) {
			if p.canRun(block) {
				p.must(t, block.Text)
				run++
			}
		}
	}
	if run == 0 {
		t.Fatalf("docs/install/olm.md has no commands below %q", heading)
	}
}

// installOLM installs the parts of OLM that operators need by its own chart, with images of programs that are built from its modules.
func installOLM(t *testing.T, p *plane) {
	t.Helper()
	built := p.buildOLM(t)
	p.pushPrograms(t, "olm/olm:test", built, map[string]string{"olm": "olm", "catalog": "catalog", "copy-content": "copy-content", "cpb": "cpb"})
	p.pushPrograms(t, "olm/opm:test", built, map[string]string{"opm": "opm", "grpc-health-probe": "grpc_health_probe"})
	p.pushShell(t)
	registry := p.cluster.Registry()
	chart := p.chartOfOLM(t)
	parts := ""
	for _, part := range []string{"00-namespace", "02-olm-operator.serviceaccount", "03-olmconfig", "07-olm-operator.deployment", "08-catalog-operator.deployment",
		"09-aggregated.clusterrole"} {
		parts += " --show-only templates/0000_50_olm_" + part + ".yaml"
	}
	p.must(t, "kubectl apply --server-side -f "+chart+"/crds && kubectl wait --for=condition=Established --timeout=1m -f "+chart+"/crds")
	p.must(t, "helm template olm "+chart+parts+" --set namespace=olm,catalog_namespace=olm,olm.image.ref="+registry+"/olm/olm:test,catalog.image.ref="+registry+
		"/olm/olm:test,catalog.opmImageArgs=--opmImage="+registry+"/olm/opm:test | kubectl apply --server-side -f -")
	p.must(t, "kubectl -n olm rollout status deployment/olm-operator deployment/catalog-operator --timeout=3m")
}

// buildOLM builds the programs of OLM that run in a cluster, and returns their directory.
func (p *plane) buildOLM(t *testing.T) string {
	t.Helper()
	built := t.TempDir()
	golang(t, filepath.Join(p.root, "hack", "tools", "olm"), "build", "-tags=containers_image_openpgp", "-ldflags=-s -w", "-o", built+"/",
		olmModule+"/cmd/olm", olmModule+"/cmd/catalog", olmModule+"/cmd/copy-content", olmModule+"/util/cpb",
		"github.com/operator-framework/operator-registry/cmd/opm", "github.com/grpc-ecosystem/grpc-health-probe")
	return built
}

// chartOfOLM is the directory of OLM's own chart, in its module.
func (p *plane) chartOfOLM(t *testing.T) string {
	t.Helper()
	return filepath.Join(p.moduleOfOLM(t, olmModule), "deploy", "chart")
}

// moduleOfOLM is the directory of a module that OLM is built of.
func (p *plane) moduleOfOLM(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(p.root, "hack", "tools", "olm"), "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// nameCatalog has OLM find the catalog's service by its name as soon as it is there, because the cluster has no DNS.
func (p *plane) nameCatalog(t *testing.T) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := p.sh(t.Context(), inOLM+`wait --for=create --timeout=5m service/image-csi-operator
			address=$(`+inOLM+`get service image-csi-operator -o jsonpath={.spec.clusterIP})
			kubectl -n olm patch deployment catalog-operator --type merge -p '{"spec": {"template": {"spec": {"hostAliases": [
				{"ip": "'$address'", "hostnames": ["image-csi-operator.image-csi-system.svc"]}]}}}}'`)
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil && t.Failed() {
			t.Log("name the catalog's service: ", err)
		}
	})
}

// pushPrograms pushes an image with programs beside a shell's, by the names that they have in /bin.
func (p *plane) pushPrograms(t *testing.T, reference, dir string, names map[string]string) {
	t.Helper()
	made, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	var files []image.File
	for program, name := range names {
		file, err := image.Program(filepath.Join(dir, program), "/bin/"+name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	layer, err := image.Layer(files...)
	if err != nil {
		t.Fatal(err)
	}
	if made, err = mutate.AppendLayers(made, layer); err != nil {
		t.Fatal(err)
	}
	if made, err = mutate.Config(made, v1.Config{User: "1001", Env: []string{"PATH=/bin"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.cluster.Push(t.Context(), reference, made); err != nil {
		t.Fatal(err)
	}
}

// explain logs what OLM and the operator have made, when a test failed.
func (p *plane) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	for _, script := range []string{
		inOLM + "get subscriptions,catalogsources,installplans,clusterserviceversions,operatorconditions,jobs,pods -o wide",
		inOLM + "get subscriptions,clusterserviceversions,operatorconditions -o yaml | tail -n 300",
		inOLM + "get events --sort-by=.lastTimestamp | tail -n 40",
		"kubectl -n olm logs deployment/catalog-operator --tail=40", "kubectl -n olm logs deployment/olm-operator --tail=40",
		inOLM + "logs deployment/image-csi-operator --tail=40",
	} {
		out, err := p.sh(context.Background(), script) // the test's own has ended
		t.Log(script, out, err)
	}
}

const upgradeable = `get operatorcondition image-csi-operator.v%s -o 'jsonpath={.spec.conditions[?(@.type=="Upgradeable")].status}'`

// installedByOLM wants the objects of OLM and those that it does not bring in effect.
func installedByOLM(t *testing.T, p *plane) {
	poll.Until(t, "the driver's first change ends", 2*time.Minute, func() error {
		return p.prints(t, inOLM+fmt.Sprintf(upgradeable, version), "True")
	})
	p.must(t, "kubectl create clusterrolebinding viewers --clusterrole=view --user=viewer")
	poll.Until(t, "people who may view may view drivers, by OLM's role", time.Minute, func() error {
		return p.prints(t, "kubectl --as viewer get imagecsidrivers -o name", "imagecsidriver.storage.imagecsi.dev/container-image.csi.k8s.io")
	})
	p.shownByConsole(t)
	p.want(t, "kubectl get namespace image-csi-system -o 'jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}'", "privileged")
	p.want(t, inOLM+"get deployment image-csi-operator -o 'jsonpath={.spec.template.spec.containers[0].image}'", p.operator(t))
	p.refused(t, "kubectl --as system:serviceaccount:image-csi-system:image-csi-operator label node n1 foreign=x", "the operator may set and remove node labels under imagecsi.dev/ only")
	p.refused(t, inOLM+"--as system:serviceaccount:image-csi-system:image-csi-operator set image daemonset --all '*=registry.example/other:1'", "denied request")
}

// gatheredWithOLM has the image collect that "oc adm must-gather --all-images" finds, where pods run.
func gatheredWithOLM(t *testing.T, p *plane) {
	image := p.must(t, inOLM+"get clusterserviceversion image-csi-operator.v"+version+` -o 'jsonpath={.metadata.annotations.operators\.openshift\.io/must-gather-image}'`)
	if !strings.Contains(image, "@sha256:") {
		t.Errorf("the ClusterServiceVersion names %q", image)
	}
	if p.manager == "" {
		mustGather(t, p, image)
	}
}

// shownByConsole wants each sample that OpenShift's console shows to be an object of the kind beside whose editor it is.
func (p *plane) shownByConsole(t *testing.T) {
	t.Helper()
	p.want(t, "kubectl get consolequickstarts -o name", "consolequickstart.console.openshift.io/image-csi-first-volume")
	samples := strings.Fields(p.must(t, "kubectl get consoleyamlsamples -o name"))
	if len(samples) != 3 {
		t.Errorf("the console has the samples %q", samples)
	}
	for _, sample := range samples {
		target := p.must(t, "kubectl get "+sample+" -o 'jsonpath={.spec.targetResource.apiVersion} {.spec.targetResource.kind}'")
		p.want(t, "kubectl get "+sample+" -o 'jsonpath={.spec.yaml}' | kubectl apply --dry-run=server --validate=strict -f - -o 'jsonpath={.apiVersion} {.kind}'", target)
	}
}

// operator is the image of a release's operator.
func (p *plane) operator(t *testing.T) string {
	t.Helper()
	return p.must(t, "sed -n 's/^ *containerImage: //p' bundle/manifests/*.clusterserviceversion.yaml")
}

// heldUpgrade offers a newer release during a paused change of the driver, and lets the change go on.
func heldUpgrade(t *testing.T, p, newer *plane) {
	const patch = "kubectl patch imagecsidriver container-image.csi.k8s.io --type merge -p "
	p.must(t, patch+`'{"spec": {"rollout": {"state": "Paused"}, "nodePlugin": {"logLevel": "Debug"}}}'`)
	poll.Until(t, "the operator reports that it must not be upgraded", time.Minute, func() error {
		return p.prints(t, inOLM+fmt.Sprintf(upgradeable, version), "False")
	})
	newer.must(t, "kubectl apply --server-side --force-conflicts -k config/olm")
	reason := inOLM + "get clusterserviceversion image-csi-operator.v" + newerVersion + " -o 'jsonpath={.status.phase} {.status.reason}'"
	poll.Until(t, "OLM holds the newer version", 4*time.Minute, func() error { return p.prints(t, reason, "Pending OperatorConditionNotUpgradeable") })
	for end := time.Now().Add(stays); time.Now().Before(end); time.Sleep(time.Second) {
		if err := p.prints(t, inOLM+"get deployment image-csi-operator -o 'jsonpath={.spec.template.spec.containers[0].image}'", p.operator(t)); err != nil {
			t.Fatal("the operator was upgraded during a change: ", err)
		}
	}
	p.want(t, inOLM+"get clusterserviceversion image-csi-operator.v"+version+" -o 'jsonpath={.status.phase}'", "Replacing")
	p.refused(t, inOLM+"delete clusterserviceversion image-csi-operator.v"+version, guarded)
	p.must(t, patch+`'{"spec": {"rollout": {"state": null}}}'`)
}

// prints is want as an error.
func (p *plane) prints(t *testing.T, script, output string) error {
	t.Helper()
	out, err := p.sh(t.Context(), script)
	if err == nil && out != output {
		err = fmt.Errorf("%s prints %q, want %q", script, out, output)
	}
	return err
}

// upgradedByOLM wants the older version gone, and the newer one's operator.
func upgradedByOLM(t *testing.T, p *plane) {
	poll.Until(t, "the older version goes", time.Minute, func() error {
		return p.prints(t, inOLM+"get clusterserviceversions -o name", "clusterserviceversion.operators.coreos.com/image-csi-operator.v"+newerVersion)
	})
	poll.Until(t, "the change of node plugins ends", 2*time.Minute, func() error {
		return p.prints(t, inOLM+fmt.Sprintf(upgradeable, newerVersion), "True")
	})
	p.want(t, "kubectl get imagecsidriver container-image.csi.k8s.io -o 'jsonpath={.spec.nodePlugin.logLevel}'", "Debug")
}

// guardedByOLM tries what would take the operator from its driver.
func guardedByOLM(t *testing.T, p *plane) {
	for _, command := range []string{
		inOLM + "delete clusterserviceversion -l operators.coreos.com/image-csi-operator.image-csi-system",
		"kubectl delete namespace image-csi-system",
		"kubectl delete customresourcedefinition imagecsidrivers.storage.imagecsi.dev",
	} {
		p.refused(t, command, guarded, "ImageCSIDriver container-image.csi.k8s.io still exists")
	}
	p.want(t, inOLM+"get clusterserviceversions -o 'jsonpath={.items[*].status.phase}'", "Succeeded")
}
