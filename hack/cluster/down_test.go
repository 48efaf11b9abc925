package cluster

import (
	"os/exec"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/process"
)

func TestDownFindsTheControlPlaneByItsEarlierName(t *testing.T) {
	dir := paths{dir: t.TempDir() + "/state"}
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := mergeInto(t, state{}).save(dir); err != nil {
		t.Fatal(err)
	}
	started := exec.Command("sleep", "60")
	if err := started.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = started.Process.Kill()
		_ = started.Wait()
	})
	identity, err := process.Of(started.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := identity.Save(dir.process("hub")); err != nil {
		t.Fatal(err)
	}
	c, err := OpenDir(dir.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if identity.Running() {
		t.Error("the process runs after Down")
	}
}
