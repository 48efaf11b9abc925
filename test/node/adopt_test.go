package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// podVolume is an inline volume of a pod, with the names that the kubelet gives.
type podVolume struct {
	uid, image string
	readOnly   bool
}

func (v podVolume) target() string {
	return filepath.Join(nodes.KubeletRoot, "pods", v.uid, "volumes/kubernetes.io~csi/data/mount")
}

func (v podVolume) id() string { return nodes.InlineID(v.uid, "data") }

// publish publishes the volume as the kubelet does, also when it has just started and the volume is mounted.
func (v podVolume) publish(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	request := nodes.Volume{ID: v.uid, Image: v.image, Inline: true, ReadOnly: v.readOnly}.Request(v.target())
	request.VolumeId = v.id()
	if _, err := p.NodePublishVolume(t.Context(), request); err != nil {
		t.Fatalf("publish for pod %s: %v", v.uid, err)
	}
}

// unpublish ends the volume, and the kubelet's care for its pod.
func (v podVolume) unpublish(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	if _, err := p.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: v.id(), TargetPath: v.target()}); err != nil {
		t.Fatalf("unpublish for pod %s: %v", v.uid, err)
	}
	if got := mountsAt(t, p.Target, v.target()); len(got) != 0 {
		t.Errorf("after unpublish %s carries %q", v.target(), got)
	}
	v.podGoes(t, p)
}

func (v podVolume) podGoes(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods", v.uid)); err != nil {
		t.Error(err)
	}
}

func (v podVolume) content(t *testing.T, p *nodes.Plugin, file string) string {
	t.Helper()
	return nodes.Read(t, p.Target.Root(), v.target(), file)
}

func (v podVolume) write(t *testing.T, p *nodes.Plugin, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.Target.Root(), v.target(), "top"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// legacy is a node on which the legacy driver ran, with the volumes of some pods.
type legacy struct {
	shared, alsoShared, oneLayer, writable podVolume
	foreign                                []string // what others keep under names that are nearly that driver's
}

func (l legacy) volumes() []podVolume {
	return []podVolume{l.shared, l.alsoShared, l.oneLayer, l.writable}
}

// leave has a release of the legacy driver publish volumes on the node while no plugin runs.
func leave(t *testing.T, p *nodes.Plugin, r release) legacy {
	t.Helper()
	two, one := pull(t, p, nodes.Numbered(2)), pull(t, p, nodes.Numbered(1))
	p.Stop(t, syscall.SIGTERM)
	uid := func(name string) string { return fmt.Sprintf("%s-%x", name, time.Now().UnixNano()) }
	l := legacy{
		shared:     podVolume{uid: uid("shared"), image: nodes.Numbered(2), readOnly: true},
		alsoShared: podVolume{uid: uid("also-shared"), image: nodes.Numbered(2), readOnly: true},
		oneLayer:   podVolume{uid: uid("one-layer"), image: nodes.Numbered(1), readOnly: true},
		writable:   podVolume{uid: uid("writable"), image: nodes.Numbered(2)},
	}
	d := legacyDriver{r, p.Target}
	d.publish(t, two, "", l.shared.target(), l.alsoShared.target())
	d.publish(t, one, "", l.oneLayer.target())
	d.publish(t, two, l.writable.id(), l.writable.target())
	// Another driver's, whose names begin like the legacy driver's.
	other := legacyDriver{release{key: "csi-image.warm-metal.tech.example"}, p.Target}
	other.publish(t, two, "csi-"+strings.Repeat("0", 64))
	l.foreign = slices.DeleteFunc(kept(t, p.Target), func(name string) bool { return !strings.HasPrefix(name, other.key) })
	if len(l.foreign) != 1 {
		t.Fatalf("the node keeps %q", kept(t, p.Target))
	}
	t.Cleanup(func() { other.remove(t, l.foreign[0]) })
	// A node plugin runs in a pod, so the kubelet's directory of pods is never empty.
	p.Target.Run(t, "mkdir", "-p", filepath.Join(nodes.KubeletRoot, "pods", "the-plugins-own"))
	p.Flags = []string{"--" + contract.FlagReleaseAfter + "=1s", "--" + contract.FlagOrphanAfter + "=1s"}
	return l
}

// expectOnlyForeign waits until nothing of the legacy driver is left, and only what is not its own is.
func (l legacy) expectOnlyForeign(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	poll.Until(t, "what the legacy driver left is gone", 40*time.Second, func() error {
		if got := kept(t, p.Target); !slices.Equal(got, l.foreign) {
			return fmt.Errorf("the runtime keeps %q, want %q", got, l.foreign)
		}
		return nil
	})
}

func onEveryRelease(t *testing.T, test func(*testing.T, *nodes.Plugin, release)) {
	for _, target := range suite.Targets(t) {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			for _, r := range releases {
				if target.Runtime == contract.RuntimeCRIO && r.label != r.key {
					continue // there are no labels, so it is another one's twin
				}
				t.Run(r.name, func(t *testing.T) { test(t, nodes.Start(t, target, nodes.DriverName()), r) })
			}
		})
	}
}

func TestVolumesOfEveryReleaseOfTheLegacyDriverAreAdoptedAndEndWell(t *testing.T) {
	onEveryRelease(t, func(t *testing.T, p *nodes.Plugin, r release) {
		l := leave(t, p, r)
		l.writable.write(t, p, "mine")
		before := kept(t, p.Target)
		p.Start(t)
		for _, v := range l.volumes() {
			v.publish(t, p)
			if got := mountsAt(t, p.Target, v.target()); len(got) != 1 || strings.Contains(got[0], "imagecsi:") {
				t.Errorf("%s carries %q, want only the legacy mount", v.target(), got)
			}
		}
		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		l.shared.unpublish(t, p)
		time.Sleep(5 * time.Second) // a sweep with every grace period behind it
		if got := kept(t, p.Target); !slices.Equal(got, before) {
			t.Errorf("the runtime keeps %q, want all of %q, which is in use", got, before)
		}
		for volume, want := range map[podVolume]string{l.alsoShared: "1\n", l.oneLayer: "0\n", l.writable: "mine"} {
			if got := volume.content(t, p, "top"); got != want {
				t.Errorf("pod %s reads %q, want %q", volume.uid, got, want)
			}
		}
		l.writable.unpublish(t, p)
		if got := kept(t, p.Target); len(got) != len(before)-1 {
			t.Errorf("after the end of a writable volume the runtime keeps %q of %q", got, before)
		}
		l.alsoShared.unpublish(t, p)
		l.oneLayer.unpublish(t, p)
		l.expectOnlyForeign(t, p)
	})
}

// reboot takes away what a reboot does: the processes, the mounts, and what lies in memory.
func (l legacy) reboot(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	for _, v := range l.volumes() {
		p.Target.Run(t, "umount", v.target())
	}
	if p.Target.Runtime != contract.RuntimeCRIO {
		return
	}
	for line := range strings.Lines(nodes.Read(t, p.Target.Root(), "proc/1/mountinfo")) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], "/var/lib/containers/storage/overlay/") && strings.HasSuffix(fields[4], "/merged") {
			p.Target.Run(t, "umount", fields[4])
		}
	}
	_ = os.Remove(filepath.Join(p.Target.Root(), "run/containers/storage/overlay-layers/mountpoints.json"))
}

func TestAfterARebootPodsKeepTheDataThatTheLegacyDriverHasForThemAndNothingElseStays(t *testing.T) {
	onEveryRelease(t, func(t *testing.T, p *nodes.Plugin, r release) {
		l := leave(t, p, r)
		l.writable.write(t, p, "mine")
		l.reboot(t, p)
		l.oneLayer.podGoes(t, p)
		p.Start(t)
		poll.Until(t, "what no pod needs is gone", 30*time.Second, func() error {
			if got := kept(t, p.Target); len(got) != 3 {
				return fmt.Errorf("the runtime keeps %q, want the view, the data and what is not its own", got)
			}
			return nil
		})
		for _, v := range []podVolume{l.shared, l.writable} {
			v.publish(t, p)
			v.publish(t, p)
			if got := mountsAt(t, p.Target, v.target()); len(got) != 1 {
				t.Errorf("%s carries %q", v.target(), got)
			}
		}
		if got := l.writable.content(t, p, "top"); got != "mine" {
			t.Errorf("the pod reads %q instead of what it wrote", got)
		}
		l.writable.write(t, p, "mine again")
		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		l.writable.publish(t, p)
		if got := l.writable.content(t, p, "top"); got != "mine again" {
			t.Errorf("after a restart the pod reads %q", got)
		}
		for _, v := range []podVolume{l.shared, l.writable} {
			v.unpublish(t, p)
		}
		l.alsoShared.podGoes(t, p)
		l.expectOnlyForeign(t, p)
	})
}

func TestWhatTheLegacyDriverLeftOfDeletedPodsIsRemovedAfterAReboot(t *testing.T) {
	onEveryRelease(t, func(t *testing.T, p *nodes.Plugin, r release) {
		l := leave(t, p, r)
		l.reboot(t, p)
		for _, v := range l.volumes() {
			v.podGoes(t, p)
		}
		p.Start(t)
		l.expectOnlyForeign(t, p)
	})
}
