package install

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOLMWithoutNodes is TestOLM where no nodes can run: OLM's operators are processes beside the API server, and a catalog is served by
// a process, with the manifests in it, because nothing unpacks an image. Ports 8080 and 8443 have to be free. It takes four minutes on an
// idle machine, and ten more to build OLM the first time.
func TestOLMWithoutNodes(t *testing.T) {
	p := start(t)
	built := p.buildOLM(t)
	p.must(t, "kubectl apply --server-side -f "+p.chartOfOLM(t)+"/crds && kubectl wait --for=condition=Established --timeout=1m -f "+p.chartOfOLM(t)+"/crds")
	p.must(t, "kubectl create namespace olm")
	newer := *p
	newer.release = p.made(t, newerVersion)
	p.serve(t, built, "50071")
	newer.serve(t, built, "50072")

	// Each listens on the port for its metrics that the other leaves: 8080, or 8443 with a certificate.
	keys := t.TempDir()
	p.must(t, "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=olm -keyout "+keys+"/key.pem -out "+keys+"/certificate.pem")
	p.background(t, "olm", filepath.Join(built, "olm"), "--namespace=olm", "--writeStatusName=", "--writePackageServerStatusName=")
	p.background(t, "catalog", filepath.Join(built, "catalog"), "--kubeconfig="+p.kubeconfig, "--namespace=olm", "--writeStatusName=",
		"--tls-key="+keys+"/key.pem", "--tls-cert="+keys+"/certificate.pem", "--client-ca="+keys+"/certificate.pem")
	tryOLM(t, p, &newer)
}

// serve serves a release's catalog, with the bundle's manifests in it, and has config/olm name the address.
func (p *plane) serve(t *testing.T, built, port string) {
	t.Helper()
	opm := filepath.Join(built, "opm")
	p.must(t, `mkdir served && sed '/schema: olm.channel/q' catalog/image-csi-operator/catalog.yaml > served/catalog.yaml
		`+opm+` render -o yaml bundle | sed 's/^image: .*/image: ""/' > served/bundle.yaml
		sed -i -e '/^  image:/d' -e '/grpcPodConfig/,$d' config/olm/catalog_source.yaml
		echo '  address: 127.0.0.1:`+port+`' >> config/olm/catalog_source.yaml`)
	p.background(t, "catalog-"+port, opm, "serve", filepath.Join(p.release, "served"), "--port="+port, "--pprof-addr=", "--termination-log="+filepath.Join(t.TempDir(), "end"))
}

// background runs a program until the test ends, and logs the end of what it said if the test failed.
func (p *plane) background(t *testing.T, name, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig, "OPERATOR_NAMESPACE=olm", "OPERATOR_NAME=olm-operator")
	command.Stdout, command.Stderr = log, log
	if err := errors.Join(command.Start(), log.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGKILL)
		_ = command.Wait()
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			lines := strings.Split(string(said), "\n")
			t.Logf("%s: %s", name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
}
