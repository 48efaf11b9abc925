package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// cell is a way in which a security module confines the node plugin, on the kernel that runs.
type cell struct {
	name  string
	steps []step

	pluginLabel, pluginAppArmor string
	pluginProgram               string // empty: program
	podLabel, podFiles          string
	podAppArmor                 string
}

type step struct {
	name string
	run  func(cell) error
}

// cellsOf are those of a security module.
func cellsOf(module string) []cell {
	volumes := []step{
		{"the engine's tests in the node plugin's container", cell.suiteInContainer},
		{"publish", func(c cell) error { return c.inPlugin("publish") }},
		{"mounts are read-only, nosuid and nodev", attributes},
		{"a pod's user reads and runs what is its own", func(c cell) error { return c.inPod(readOnlyVolume, user, "read") }},
		{"an image of one layer", func(c cell) error { return c.inPod(oneLayerVolume, user, "read-only-one-layer") }},
		{writableStep, func(c cell) error { return c.inPod(writableVolume, 0, "write") }},
		{"forms whose users can be mapped, or why there are none", mappableForms},
		{"unpublish", func(c cell) error { return c.inPlugin("unpublish") }},
		{"nothing is left", nothingLeft},
	}
	ofStore := step{"CRI-O's image store in the node plugin's container", cell.storeInContainer}
	switch module {
	case "none":
		onNode := []step{
			{"the engine's tests on the node", func(cell) error { return suiteOnNode() }},
			{"nothing comes early or late while the clock jumps", whileTheClockJumps},
			ofStore,
			knows("seLinuxType=own_t", ""), // which is asked for on nodes with and without
			knows("appArmor=RuntimeDefault", "AppArmor is not enabled on this node"),
		}
		return []cell{{name: "no LSM", steps: slices.Concat(onNode, volumes)}}
	case "apparmor":
		return []cell{
			{name: "AppArmor default", pluginAppArmor: defaultProfile, steps: []step{
				{"the denial is explained", func(c cell) error {
					return c.inPlugin("denied", `the AppArmor profile "`+defaultProfile+`" denies it`, "set the container's appArmorProfile to Unconfined")
				}},
				knows("appArmor=RuntimeDefault", ""),
				knows("appArmor=Localhost/"+defaultProfile, ""),
				knows("appArmor=Localhost/other", `its AppArmor profile is "`+defaultProfile+` (enforce)"`),
				{"nothing is left", nothingLeft},
			}},
			{name: "AppArmor, the node plugin's own profile", pluginAppArmor: ownProfile, pluginProgram: contract.NodePluginBinary,
				podAppArmor: defaultProfile, steps: underOwnProfile(volumes[1:])}, // the engine's tests run programs
			{name: "AppArmor unconfined", podAppArmor: defaultProfile, steps: slices.Concat(volumes, []step{
				knows("appArmor=Unconfined", ""), knows("appArmor=RuntimeDefault", `its AppArmor profile is "unconfined"`),
				{"a thread that mounts reaches what it should not", func(c cell) error { return c.reached(answerAllowed) }}})},
		}
	case "selinux":
		pod := cell{podLabel: "system_u:system_r:container_t:s0:c7,c8", podFiles: "system_u:object_r:data_t:s0:c7,c8"}
		enforced := step{"a pod's files are closed to others", categoriesHold}
		container, trusted := pod, pod
		container.name, container.pluginLabel = "SELinux container_t", "system_u:system_r:container_t:s0:c1,c2"
		container.steps = slices.Concat(volumes, []step{enforced, {"a volume that cannot be writable is refused", upperIsRefused},
			knows("seLinuxType=container_t;seLinuxLevel=s0:c1,c2", ""), knows("seLinuxType=own_t", "its type should be own_t"),
			knows("seLinuxType=container_t;seLinuxLevel=s0", "its level should be s0")})
		trusted.name, trusted.pluginLabel = "SELinux spc_t", "system_u:system_r:spc_t:s0"
		trusted.steps = slices.Concat(volumes, sandboxSteps(trusted), []step{enforced, ofStore,
			{"volumes have the label that an administrator chooses", volumesAreLabelled},
			{"a label that the policy does not have is told at the start", anUnknownLabelIsTold},
			knows("seLinuxType=spc_t;seLinuxLevel=s0", ""), knows("seLinuxType=container_t", "its type should be container_t")})
		return []cell{container, trusted}
	}
	return []cell{{name: "unknown security module " + module, steps: []step{{"boot", func(cell) error { return os.ErrInvalid }}}}}
}

// run takes every step; those after a failed one tell more.
func (c cell) run() {
	failed := 0
	before := len(denials())
	for _, s := range c.steps {
		start := time.Now()
		if err := s.run(c); err != nil {
			failed++
			say("step FAILED: %s: %s: %v", c.name, s.name, err)
			continue
		}
		say("step ok: %s: %s (%.1f s)", c.name, s.name, time.Since(start).Seconds())
	}
	if failed == 0 {
		say("cell ok: %s: %d steps", c.name, len(c.steps))
		return
	}
	for _, denial := range denials()[before:] {
		fmt.Println(denial)
	}
	say("cell FAILED: %s: %d of %d steps", c.name, failed, len(c.steps))
}

// plugin is the node plugin's container as this cell confines it.
func (c cell) plugin(args ...string) (container, error) {
	plugin, err := pluginContainer(args...)
	plugin.label, plugin.appArmor = c.pluginLabel, c.pluginAppArmor
	if c.pluginLabel != "" {
		plugin.files = "system_u:object_r:data_t:s0" + strings.TrimPrefix(c.pluginLabel[strings.LastIndex(c.pluginLabel, ":s0"):], ":s0")
	}
	return plugin, err
}

func (c cell) inPlugin(args ...string) error {
	plugin, err := c.plugin(append([]string{cmp.Or(c.pluginProgram, program), roleNode}, args...)...)
	if err != nil {
		return err
	}
	return ended(plugin.run())
}

func (c cell) inPod(volume string, uid uint32, args ...string) error {
	return c.podOn(target(volume), volume != writableVolume, uid, args...)
}

func (c cell) podOn(dir string, readOnly bool, uid uint32, args ...string) error {
	pod := podContainer(dir, readOnly, uid, args...)
	pod.label, pod.files, pod.appArmor = c.podLabel, c.podFiles, c.podAppArmor
	return ended(pod.run())
}

func ended(said string, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// attributes looks at the mounts on the node: the runtime drops flags from what it shows pods.
func attributes(cell) error {
	for _, v := range volumes() {
		want := int64(unix.ST_NOSUID | unix.ST_NODEV)
		if v.Upper == "" {
			want |= unix.ST_RDONLY
		}
		var stat unix.Statfs_t
		if err := unix.Statfs(v.Target, &stat); err != nil {
			return err
		}
		if got := stat.Flags & (unix.ST_NOSUID | unix.ST_NODEV | unix.ST_RDONLY); got != want {
			return fmt.Errorf("%s has the attributes %#x instead of %#x", v.Target, got, want)
		}
	}
	return nil
}

// nothingLeft fails if anything is mounted beneath the kubelet's root, or a volume's directory is there.
func nothingLeft(cell) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " "+kubeletRoot) {
			return fmt.Errorf("still mounted: %s", line)
		}
	}
	for _, v := range volumes() {
		if _, err := os.Lstat(v.Target); !os.IsNotExist(err) {
			return fmt.Errorf("%s is still there: %w", v.Target, err)
		}
	}
	return os.RemoveAll(writableDir)
}

// categoriesHold shows that SELinux is enforcing: a pod may not read files with another pod's categories.
func categoriesHold(c cell) error {
	dir := kubeletRoot + "/other-pod"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/secret", nil, 0o644); err != nil {
		return err
	}
	if err := label(dir+"/secret", "system_u:object_r:data_t:s0:c3,c4"); err != nil {
		return err
	}
	return c.podOn(dir, true, 0, "forbidden")
}

func upperIsRefused(c cell) error {
	for _, dir := range []string{"upper", "work"} {
		if err := os.MkdirAll(snapshots+"/1/"+dir, 0o755); err != nil {
			return err
		}
	}
	return c.inPlugin("upper-in-snapshots")
}
