package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestItIsForEveryDesktop wants no package of the project in it that needs Linux: those of golang.org/x/sys/unix do. `make
// kubectl-plugin` builds it for each system, which takes minutes.
func TestItIsForEveryDesktop(t *testing.T) {
	const project = "github.com/image-csi/image-csi-operator/"
	for _, system := range []string{"darwin", "windows"} {
		command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, ".")
		command.Env = append(os.Environ(), "GOOS="+system)
		listed, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		ours := 0
		for line := range strings.Lines(string(listed)) {
			if !strings.HasPrefix(line, project) {
				continue
			}
			ours++
			if strings.Contains(line, "golang.org/x/sys/unix") {
				t.Errorf("for %s: %s imports golang.org/x/sys/unix", system, strings.Fields(line)[0])
			}
		}
		if ours < 5 {
			t.Errorf("for %s: %d packages of the project", system, ours)
		}
	}
}
