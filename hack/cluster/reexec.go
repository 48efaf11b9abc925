package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/nodeconfig"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/ociruntime"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/process"
)

// Names under which this program does a part of a cluster's work.
const (
	controlPlaneEntrypoint = "imagecsi-control-plane" // the registry, the forwards and the control plane's daemons
	nodeEntrypoint         = "imagecsi-node"          // builds a node's root and becomes its init
	nodeInitEntrypoint     = "imagecsi-node-init"     // a node's init
)

// self is this program. The link works even if the file was replaced or removed meanwhile, as test binaries are.
const self = "/proc/self/exe"

// entrypoints are the main functions of this program by the name under which it was started.
var entrypoints = map[string]func() error{
	controlPlaneEntrypoint: runControlPlane,
	nodeEntrypoint:         runNode,
	nodeInitEntrypoint:     runNodeInit,
	nodeconfig.OCIRuntimeName: func() error {
		return ociruntime.Exec(nodeconfig.RuncDir+"/runc", os.Args[1:])
	},
	nodeconfig.CrunName: func() error { return ociruntime.ExecCrun(os.Args[1:]) },
}

// initialized is set when Init was called; without it this program, started again, would do all it does once more.
var initialized bool

var errNotInitialized = errors.New("cluster.Init was not called: call it first in main or TestMain")

// Init has to be called first in main or TestMain of every program that uses this package. In a process that was
// started to be a part of a cluster it does that part's work and never returns.
func Init() {
	initialized = true
	name := filepath.Base(os.Args[0])
	run, found := entrypoints[name]
	if !found {
		return
	}
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // what ps shows; "exe" would be of no help
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// detached is this program under another name, to run on its own.
type detached struct {
	entrypoint string
	log        string
	record     string // file to record the process in
	cloneFlags uintptr
	files      []*os.File // descriptors 3 and up
	config     any        // what it reads with readConfig
}

// start starts the process in the calling thread's network namespace. The process gets its configuration, and with it leave
// to begin, only after it has been recorded: one that Down would not find does nothing and ends.
func (d detached) start() error {
	if !initialized {
		return errNotInitialized
	}
	config, err := json.Marshal(d.config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(d.log), 0o755); err != nil {
		return err
	}
	log, err := os.Create(d.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self)
	cmd.Args = []string{d.entrypoint}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = d.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: d.cloneFlags}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d.entrypoint, err)
	}
	go func() { _ = cmd.Wait() }() // reap it, should it end before this process does
	identity, err := process.Of(cmd.Process.Pid)
	if err == nil {
		err = identity.Save(d.record)
	}
	if err == nil {
		_, err = stdin.Write(config)
	}
	stdin.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", d.entrypoint, err)
	}
	return nil
}

// readConfig reads what the starting process has written.
func readConfig(config any) error {
	if err := json.NewDecoder(os.Stdin).Decode(config); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	return syscall.Dup3(int(null.Fd()), 0, 0)
}
