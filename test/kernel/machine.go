package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// patience is how long a machine may take.
const patience = 20 * time.Minute

// machine is a virtual machine to boot once.
type machine struct {
	kernel   kernel
	files    kernelFiles
	disk     string
	security string
	verbose  bool
}

// modulesOrder is the "lsm=" that makes one security module the major one.
func (m machine) modulesOrder() string {
	switch m.security {
	case "apparmor":
		return "lsm=lockdown,capability,yama,apparmor apparmor=1 selinux=0"
	case "selinux":
		return "lsm=lockdown,capability,yama,selinux selinux=1 enforcing=0 apparmor=0"
	default:
		return "lsm=lockdown,capability,yama apparmor=0 selinux=0"
	}
}

// boot runs the machine until it switches itself off and returns what it printed. What it writes to the disk is
// forgotten.
func (m machine) boot(ctx context.Context) (console string, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := fmt.Sprintf("console=ttyS0 panic=-1 quiet mitigations=off no5lvl %s IMAGECSI_SECURITY=%s IMAGECSI_LOWERDIR_APPEND=%v IMAGECSI_STACKS_FILES=%v",
		m.modulesOrder(), m.security, m.kernel.lowerdirAppend, m.kernel.stacksFiles)
	// Without cmpxchg16b: QEMU 7.2 returns from it with broken flags once in a while, and the kernel ends in a double fault.
	cmd := exec.CommandContext(ctx, "nice", "-n", "5", "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max,-cx16",
		"-smp", "1", "-m", "2G", "-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio",
		"-drive", "file="+m.disk+",format=raw,if=none,id=disk,snapshot=on,cache=unsafe", "-device", "nvme,drive=disk,serial=disk",
		"-kernel", m.files.image, "-initrd", m.files.initrd, "-append", command)
	var out bytes.Buffer
	cmd.Stdout = &out
	if m.verbose {
		cmd.Stdout = io.MultiWriter(&out, os.Stdout)
	}
	cmd.Stderr = cmd.Stdout
	start := time.Now()
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("ended after %s: %w", patience, ctx.Err())
	}
	return out.String(), time.Since(start), err
}
