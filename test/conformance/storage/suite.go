package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// definition describes the driver to the suite.
//
//go:embed driver.yaml
var definition string

// suite is Kubernetes' suite and the cluster that it tests.
type suite struct {
	cluster *cluster.Cluster
	program string
	dir     string // for what the suite reads and writes
}

func (s *suite) log(class string) string { return filepath.Join(s.dir, class+".log") }

// pushImages gives the cluster's registry what the suite's pods run: a shell, by the names that this release of the suite
// has for it.
func (s *suite) pushImages(ctx context.Context) error {
	listed, err := exec.CommandContext(ctx, s.program, "--list-images").Output()
	if err != nil {
		return fmt.Errorf("ask the suite for the images that it uses: %w", err)
	}
	busybox, err := image.Busybox()
	if err != nil {
		return err
	}
	pushed := 0
	for _, name := range strings.Fields(string(listed)) {
		_, repository, found := strings.Cut(name, "/")
		if !found || !strings.Contains(repository, "/busybox:") {
			continue
		}
		if err := s.cluster.Push(ctx, repository, busybox); err != nil {
			return err
		}
		pushed++
	}
	if pushed == 0 {
		return errors.New("the suite names no busybox image: see what --list-images of e2e.test says")
	}
	return nil
}

// test runs the suite's tests of the driver on nodes of a class.
func (s *suite) test(ctx context.Context, class string) (report, error) {
	driver, result := filepath.Join(s.dir, class+".yaml"), filepath.Join(s.dir, class+".json")
	selected := definition + "NodeSelectors: {imagecsi.dev/node-class: " + class + "}\n"
	if err := os.WriteFile(driver, []byte(selected), 0o644); err != nil {
		return report{}, err
	}
	if err := os.RemoveAll(result); err != nil { // of an earlier run
		return report{}, err
	}
	log, err := os.Create(s.log(class))
	if err != nil {
		return report{}, err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, s.program, "--provider=skeleton", "--kubeconfig="+s.cluster.Kubeconfig(),
		"--storage.testdriver="+driver, "--ginkgo.focus=External Storage", "--ginkgo.no-color", "--ginkgo.json-report="+result)
	command.Dir, command.Stdout, command.Stderr = s.dir, log, log
	fmt.Printf("running Kubernetes' suite for storage drivers on %s nodes\n", class)
	// A failed test fails the command, too. The report says more.
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		return report{}, err
	}
	tests, err := readReport(result)
	if err != nil {
		return report{}, fmt.Errorf("the suite ended without a report: %w; its log is %s", err, s.log(class))
	}
	return tests, nil
}
