package faults

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// The sweep at the end of the process is the one that is killed.
func TestACleanUpIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		end := func(t *testing.T, p *nodes.Plugin) error {
			// It may have been killed already, at a step of the last part of its start.
			return errors.Join(p.Signal(syscall.SIGTERM), p.Wait(t))
		}
		t.Run("of an image that no volume uses", func(t *testing.T) {
			unused := func(t *testing.T, p *nodes.Plugin) {
				readOnly.publishAndWrite(t, p)
				readOnly.unpublish(t, p)
			}
			killAtEveryStep(t, p, history{before: unused, killed: end})
		})
		t.Run("of the data of a pod that went with a reboot", func(t *testing.T) {
			orphan := func(t *testing.T, p *nodes.Plugin) {
				written.publishAndWrite(t, p)
				p.Stop(t, syscall.SIGKILL)
				written.rebootWithoutPod(t, p)
				p.Start(t) // and the first sweep notes it
			}
			killAtEveryStep(t, p, history{before: orphan, killed: end})
		})
	})
}

// A start also puts the seccomp profile of nested sandboxes on the node: all of it or nothing.
func TestAStartIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		p.Flags = append(p.Flags, "--"+contract.FlagSandboxProfile+"="+sandbox.Name())
		profiles := filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.SeccompDir, sandbox.Directory)
		again := func(t *testing.T, p *nodes.Plugin) {
			p.Stop(t, syscall.SIGKILL)
			if err := os.Remove(filepath.Join(profiles, filepath.Base(sandbox.Name()))); err != nil {
				t.Fatal(err)
			}
			p.StartStopped(t)
		}
		whole := func(t *testing.T, _ *nodes.Plugin) {
			content, err := os.ReadFile(filepath.Join(profiles, filepath.Base(sandbox.Name())))
			if !errors.Is(err, fs.ErrNotExist) && (err != nil || !bytes.Equal(content, sandbox.Profile(runtime.GOARCH))) {
				t.Errorf("the profile holds %d bytes, %v", len(content), err)
			}
		}
		alone := func(t *testing.T, _ *nodes.Plugin) {
			found, err := os.ReadDir(profiles)
			if err != nil || len(found) != 1 || found[0].Name() != filepath.Base(sandbox.Name()) {
				t.Errorf("after the next start there is %v, %v", found, err)
			}
		}
		answers := func(t *testing.T, p *nodes.Plugin) error { return p.Answers(t) }
		withNeighbour(t, p, func(t *testing.T, p *nodes.Plugin) {
			killAtEveryStep(t, p, history{before: again, killed: answers, dead: whole, after: alone})
		})
	})
}
