package faults

import (
	"errors"
	"syscall"
	"testing"

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

func TestAStartIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		again := func(t *testing.T, p *nodes.Plugin) {
			p.Stop(t, syscall.SIGKILL)
			p.StartStopped(t)
		}
		answers := func(t *testing.T, p *nodes.Plugin) error { return p.Answers(t) }
		withNeighbour(t, p, func(t *testing.T, p *nodes.Plugin) {
			killAtEveryStep(t, p, history{before: again, killed: answers})
		})
	})
}
