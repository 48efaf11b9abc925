package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/nodeconfig"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/noderoot"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/supervise"
)

// nodeBoot is what a node's first process is told.
type nodeBoot struct {
	Node         nodeconfig.Node `json:"node"`
	ControlGroup string          `json:"controlGroup"`
	Scratch      string          `json:"scratch"`
	Disk         string          `json:"disk"`
	Binds        []noderoot.Bind `json:"binds"`
}

// runNode is a node's first process: already in new namespaces of every kind but one, still with the machine's files.
// It builds the node's root, moves in, and becomes the node's init.
func runNode() error {
	var boot nodeBoot
	if err := readConfig(&boot); err != nil {
		return err
	}
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := groups.Join(boot.ControlGroup); err != nil {
		return err
	}
	// A control group namespace shows the group of its creator as its root, so it is made only now. It counts
	// for this thread alone, until the thread becomes the whole process at the end.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a control group namespace: %w", err)
	}
	if err := unix.Sethostname([]byte(boot.Node.Name)); err != nil {
		return fmt.Errorf("set the node's host name: %w", err)
	}
	files, err := nodeconfig.Files(boot.Node)
	if err != nil {
		return err
	}
	err = noderoot.Enter(noderoot.Spec{
		Scratch: boot.Scratch,
		Disk:    boot.Disk,
		Binds:   boot.Binds,
		Files:   files,
		Cgroups: groups,
	})
	if err != nil {
		return err
	}
	daemons, err := json.Marshal(nodeconfig.Daemons(boot.Node))
	if err != nil {
		return err
	}
	init := nodeconfig.SelfDir + "/" + nodeInitEntrypoint
	environment := []string{"PATH=" + nodeconfig.Path, "HOME=/root"}
	return fmt.Errorf("become the node's init: %w", unix.Exec(init, []string{init, string(daemons)}, environment))
}

// runNodeInit is a node's init. Its argument is the daemons to run.
func runNodeInit() error {
	var daemons []supervise.Daemon
	if err := json.Unmarshal([]byte(os.Args[1]), &daemons); err != nil {
		return fmt.Errorf("read what to run: %w", err)
	}
	supervise.Run(daemons)
	return nil
}
