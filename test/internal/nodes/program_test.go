package nodes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Tests run side by side, and each starts processes all the time. (3 s)
func TestAProgramRunsAsSoonAsItIsWritten(t *testing.T) {
	content, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	var others sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.Command("/bin/true").Run()
				}
			}
		})
	}
	defer others.Wait()
	defer close(stop)
	for range 300 {
		program := filepath.Join(t.TempDir(), "program")
		if err := WriteProgram(program, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command(program).Run(); err != nil {
			t.Fatal(err)
		}
	}
}
