package images

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// crioConf is CRI-O's configuration on the tests' nodes.
const crioConf = "etc/crio/crio.conf"

// CRI-O keeps its images in a store of their own, then in an additional one beside its root, and what is true until a reboot in
// another directory. Their volumes are made, pinned and taken away like any other's. (35 s, for three restarts of CRI-O, which mounts
// what very many layers make by a process for each layer when it starts: the images that have them go first.)
func TestImagesAreShownWhereverCRIOKeepsThem(t *testing.T) {
	for _, target := range suite.Targets(t) {
		if target.Runtime == contract.RuntimeCRIO {
			t.Run(target.Name, func(t *testing.T) { testStores(t, nodes.Start(t, target, nodes.DriverName())) })
		}
	}
}

func testStores(t *testing.T, p *nodes.Plugin) {
	const apart, usualRun, otherRun = "/var/lib/containers/apart", "/run/containers/storage", "/run/containers/other"
	p.Target.RemoveImage(t, reference("too many layers"))
	for _, layers := range layerCounts {
		p.Target.RemoveImage(t, nodes.Numbered(layers))
	}
	file := filepath.Join(p.Target.Root(), crioConf)
	before, err := os.ReadFile(file)
	must(t, err)
	restart := func(conf string) {
		p.Stop(t, syscall.SIGTERM)
		must(t, os.WriteFile(file, []byte(conf), 0o600))
		p.Target.RestartRuntime(t)
	}
	defer func() {
		restart(string(before))
		leavesNothing(t, p)
	}()
	setUp := func(line string) string {
		return strings.NewReplacer("[crio]\n", "[crio]\n"+line+"\n", usualRun, otherRun).Replace(string(before))
	}
	show := func(image int) {
		t.Helper()
		both(t, p, nodes.Numbered(image), func(t *testing.T, path string, _ bool) { checkNumbered(t, path, image) })
		if err := p.Ready(t); err != nil && strings.Contains(err.Error(), "spec.nodeClasses") {
			t.Error(err)
		}
	}

	must(t, os.MkdirAll(filepath.Join(p.Target.Root(), otherRun), 0o755))
	restart(setUp(`imagestore = "` + apart + `"`))
	p.Start(t)
	if err := p.Ready(t); err == nil || !strings.Contains(err.Error(), "set runRoot: "+otherRun) {
		t.Errorf("readiness with another run root: %v", err)
	}
	p.Stop(t, syscall.SIGTERM)
	p.Flags = []string{"--" + contract.FlagRunRoot + "=" + otherRun}
	p.Start(t)
	show(10)

	restart(setUp(`storage_option = ["overlay.imagestore=` + apart + `"]`))
	p.Start(t)
	if !p.Target.Holds(t, nodes.Numbered(10)) {
		t.Fatal("CRI-O does not read the additional store")
	}
	show(10)
	show(1)
	p.Stop(t, syscall.SIGTERM)
	p.Flags = nil
}
