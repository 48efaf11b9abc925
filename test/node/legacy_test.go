package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.podman.io/storage"
	"go.podman.io/storage/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// release is how a release line of the legacy driver names what it keeps.
type release struct{ name, label, key string }

// releases are all combinations of its two names. On CRI-O nodes only the key's matters.
var releases = []release{
	{"v1.0-to-v1.2.5", "csi-image.warm-metal.tech", "csi-image.warm-metal.tech"},
	{"v1.2.6-to-v1.2.17", "csi-image.warm-metal.tech", "container-image.csi.k8s.io"},
	{"v2.0", "container-image.csi.k8s.io", "csi-image.warm-metal.tech"},
	{"v2.1", "container-image.csi.k8s.io", "container-image.csi.k8s.io"},
}

// legacyDriver leaves on a node what one release of the legacy driver leaves.
type legacyDriver struct {
	release
	node *nodes.Target
}

// publish leaves an image mounted read-only at targets, or one writable volume with an ID at its target.
func (d legacyDriver) publish(t *testing.T, image pulled, volumeID string, targets ...string) {
	t.Helper()
	for _, target := range targets {
		if err := os.MkdirAll(filepath.Join(d.node.Root(), target), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if d.node.Runtime == contract.RuntimeCRIO {
		d.publishInStorage(t, image, volumeID, targets)
	} else {
		d.publishSnapshot(t, image, volumeID, targets)
	}
}

// publishSnapshot makes the snapshot, labels it against garbage collection and, if it is read-only, with its targets,
// and makes the mounts that containerd describes.
func (d legacyDriver) publishSnapshot(t *testing.T, image pulled, volumeID string, targets []string) {
	t.Helper()
	kind, key := "prepare", d.key+"-"+volumeID
	if volumeID == "" {
		kind, key = "view", d.key+"-"+image.chain
	}
	d.node.Run(t, "ctr", "-n", "k8s.io", "snapshots", kind, key, image.chain)
	labels := []string{"-n", "k8s.io", "snapshots", "label", key, "containerd.io/gc.root=" + time.Now().UTC().Format(time.RFC3339)}
	if volumeID == "" {
		for _, target := range targets {
			labels = append(labels, d.label+"/target|"+target+"=√")
		}
	}
	d.node.Run(t, "ctr", labels...)
	for _, target := range targets {
		d.node.Run(t, "sh", "-c", d.node.Run(t, "ctr", "-n", "k8s.io", "snapshots", "mounts", target, key))
	}
}

// storageMounts is what the legacy driver does on CRI-O nodes, in the node's namespaces.
type storageMounts struct {
	Key, ImageID, Metadata string
	ReadOnly               bool
	Targets                []string
	Remove                 bool // takes the container away instead
}

func (d legacyDriver) publishInStorage(t *testing.T, image pulled, volumeID string, targets []string) {
	t.Helper()
	mounts := storageMounts{Key: d.key + "-" + volumeID, ImageID: image.id, Targets: targets}
	if volumeID == "" {
		set := map[string]struct{}{}
		for _, target := range targets {
			set[target] = struct{}{}
		}
		metadata, err := json.Marshal(map[int]any{1: set})
		if err != nil {
			t.Fatal(err)
		}
		mounts.Key, mounts.Metadata, mounts.ReadOnly = d.key+"-"+image.id, string(metadata), true
	}
	d.runInStorage(t, mounts)
}

// remove takes away what no test's subject may.
func (d legacyDriver) remove(t *testing.T, name string) {
	t.Helper()
	if d.node.Runtime == contract.RuntimeCRIO {
		d.runInStorage(t, storageMounts{Key: name, Remove: true})
	} else {
		d.node.Run(t, "ctr", "-n", "k8s.io", "snapshots", "rm", name)
	}
}

func (d legacyDriver) runInStorage(t *testing.T, mounts storageMounts) {
	t.Helper()
	argument, err := json.Marshal(mounts)
	if err != nil {
		t.Fatal(err)
	}
	const program = "/opt/legacy-driver"
	if _, err := os.Stat(filepath.Join(d.node.Root(), program)); err != nil {
		copyProgram(t, filepath.Join(d.node.Root(), program))
	}
	d.node.Run(t, program, storageRole, string(argument))
}

// storageRole is the argument by which this program knows that it is to do storageMounts.
const storageRole = "mount-as-the-legacy-driver"

func copyProgram(t *testing.T, to string) {
	t.Helper()
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := nodes.WriteProgram(to, in); err != nil {
		t.Fatal(err)
	}
}

func mountFromStorage(argument string) error {
	var m storageMounts
	if err := json.Unmarshal([]byte(argument), &m); err != nil {
		return err
	}
	store, err := storage.GetStore(types.StoreOptions{GraphRoot: "/var/lib/containers/storage", RunRoot: "/run/containers/storage",
		GraphDriverName: "overlay", GraphDriverOptions: []string{"overlay.skip_mount_home=true"}})
	if err != nil {
		return err
	}
	if m.Remove {
		return store.DeleteContainer(m.Key)
	}
	options := &storage.ContainerOptions{}
	if m.ReadOnly {
		options.MountOpts = []string{"ro"}
	}
	if _, err := store.CreateContainer(m.Key, nil, m.ImageID, "", m.Metadata, options); err != nil {
		return err
	}
	for _, target := range m.Targets {
		source, err := store.Mount(m.Key, "")
		if err != nil {
			return err
		}
		if err := syscall.Mount(source, target, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			return err
		}
		if m.ReadOnly {
			if err := syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// kept lists the names of what legacy drivers, and others with similar names, keep on the node.
func kept(t *testing.T, node *nodes.Target) []string {
	t.Helper()
	var text string
	if node.Runtime == contract.RuntimeCRIO {
		text = nodes.Read(t, node.Root(), "var/lib/containers/storage/overlay-containers/containers.json")
	} else {
		c := node.Containerd(t)
		defer c.Close()
		for _, names := range node.Snapshots(t, c, "") {
			text += strings.Join(names, "\n") + "\n"
		}
	}
	return regexp.MustCompile(`(csi-image\.warm-metal\.tech|container-image\.csi\.k8s\.io)[-.][-.:0-9a-z]*`).FindAllString(text, -1)
}

// pulled is an image that the runtime holds, unpacked.
type pulled struct{ chain, id string }

// pull has the runtime pull an image, and returns the names by which the legacy driver knows it.
func pull(t *testing.T, p *nodes.Plugin, image string) pulled {
	t.Helper()
	v := nodes.Volume{ID: "to-pull", Image: image, Inline: true, ReadOnly: true}
	p.MustPublish(t, v)
	mounts := p.Mounts(t)
	if len(mounts) != 1 {
		t.Fatalf("mounts %q", mounts)
	}
	chain := regexp.MustCompile(`@(sha256:[0-9a-f]{64})`).FindStringSubmatch(mounts[0])
	p.Unpublish(t, v.ID)
	client, conn := p.Target.Images(t)
	defer conn.Close()
	answer, err := client.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	if err != nil || answer.GetImage() == nil || chain == nil {
		t.Fatalf("image %s, mount %q: %v", image, mounts[0], err)
	}
	return pulled{chain: chain[1], id: strings.TrimPrefix(answer.GetImage().GetId(), "sha256:")}
}

// mountsAt are the lines of the node's mount table for a target.
func mountsAt(t *testing.T, node *nodes.Target, target string) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(nodes.Read(t, node.Root(), "proc/1/mountinfo")) {
		if strings.Contains(line, fmt.Sprintf(" %s ", target)) {
			found = append(found, line)
		}
	}
	return found
}
