// Tests the node plugin's mount engine on kernels and under security modules that this machine does not run: boots each
// kernel once per security module in QEMU, with an emulated processor, and has the program in guest try it there.
//
//	go -C test run ./kernel [-kernel 6.1] [-security selinux] [-v]
//
// It prints a line for each kernel and confinement, and fails if anything in one of them did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
)

// kernel is one that Debian builds; which release exactly is the suite's matter.
type kernel struct {
	name  string
	suite string
	// lowerdirAppend reports whether overlays take layers one by one, as from 6.8.
	lowerdirAppend bool
	// stacksFiles reports whether overlays stack EROFS images that are files, as from 6.15.
	stacksFiles bool
}

func kernels() []kernel {
	return []kernel{
		{name: "5.10", suite: "bullseye"},
		{name: "6.1", suite: "bookworm"},
		{name: "6.12", suite: "trixie", lowerdirAppend: true},
		{name: "newest", suite: "sid", lowerdirAppend: true, stacksFiles: true},
	}
}

// securityModules are what the kernel is booted with, one at a time.
func securityModules() []string { return []string{"none", "apparmor", "selinux"} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("kernel", "", "only this kernel: 5.10, 6.1, 6.12 or newest")
	module := flag.String("security", "", "only this security module: none, apparmor or selinux")
	verbose := flag.Bool("v", false, "print all that the machines print")
	flag.Parse()
	if err := programs.InstallDebian(ctx, os.Stderr, "qemu-system-x86", "cpio", "xz-utils", "e2fsprogs"); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "kernel-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	guest := filepath.Join(work, "guest")
	if err := command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", guest, "./kernel/guest"); err != nil {
		return err
	}
	image, err := makeDisk(ctx, work, guest)
	if err != nil {
		return fmt.Errorf("making the machines' disk: %w", err)
	}
	var booted, failed int
	for _, k := range kernels() {
		if *only != "" && *only != k.name {
			continue
		}
		files, err := k.unpack(ctx, filepath.Join(work, k.name), guest)
		if err != nil {
			return fmt.Errorf("getting kernel %s: %w", k.name, err)
		}
		for _, security := range securityModules() {
			if *module != "" && *module != security {
				continue
			}
			booted++
			m := machine{kernel: k, files: files, disk: image, security: security, verbose: *verbose}
			if !m.report(m.boot(ctx)) {
				failed++
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case booted == 0:
		return fmt.Errorf("there is no kernel %q with security module %q", *only, *module)
	case failed > 0:
		return fmt.Errorf("%d of %d machines failed", failed, booted)
	}
	return nil
}

// report prints a line for each cell of a machine and reports whether all held.
func (m machine) report(console string, took time.Duration, err error) bool {
	var cells, wrong int
	ended := false
	for line := range strings.Lines(console) {
		said, ours := strings.CutPrefix(strings.TrimSpace(line), "imagecsi: ")
		if !ours {
			continue
		}
		ended = ended || said == "end"
		if strings.Contains(said, "FAILED") {
			wrong++
		}
		if cell, ok := strings.CutPrefix(said, "cell "); ok {
			cells++
			fmt.Printf("%-28s %s\n", m.files.release, cell)
		}
	}
	if !ended {
		err = errors.Join(err, errors.New("the machine did not come to its end"))
	}
	if err == nil && wrong == 0 && cells > 0 {
		fmt.Printf("%-28s %s: %.0f s\n", m.files.release, m.security, took.Seconds())
		return true
	}
	if !m.verbose {
		fmt.Println(console)
	}
	fmt.Printf("%-28s %s: FAILED after %.0f s (%v)\n", m.files.release, m.security, took.Seconds(), err)
	return false
}
