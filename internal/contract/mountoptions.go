package contract

import (
	"fmt"
	"slices"
	"strings"
)

// maxNamedOptions and maxOption bound what an error repeats of mount options that others wrote.
const (
	maxNamedOptions = 8
	maxOption       = 40
)

// CheckMountOptions returns an error unless every mount option of a volume (a PersistentVolume's or a StorageClass's
// mountOptions) holds where it matters, in the containers of a pod. A container runtime mounts a volume into each container
// again, with options of its own: runc and crun keep none of noexec, nosuid, nodev and nosymfollow (KEP-5855).
// What the file system itself does holds: one of images is read-only, and records no access times. An option may be a
// list with commas, as for mount(8). The error is a sentence for the volume's author.
func CheckMountOptions(options []string, writable bool) error {
	var lost, others []string
	for option := range strings.SplitSeq(strings.Join(options, ","), ",") {
		option = strings.TrimSpace(option)
		switch option {
		case "", "defaults", "relatime": // relatime is what mounts have
		case "ro", "noatime", "nodiratime":
			if writable {
				others = append(others, option)
			}
		case "noexec", "nosuid", "nodev", "nosymfollow":
			lost = append(lost, option)
		default:
			others = append(others, option)
		}
	}
	switch {
	case len(lost) > 0:
		return fmt.Errorf("mount options %s would not hold in a pod: container runtimes mount a volume into each container again, without "+
			"them; remove them from mountOptions. recursiveReadOnly: Enabled of a volumeMount keeps nosuid and nodev, which "+
			"every image volume has on the node, and allowPrivilegeEscalation: false of a container makes set-uid files harmless", named(lost))
	case len(others) > 0 && writable:
		return fmt.Errorf("mount options %s cannot be given to a writable image volume; remove them from mountOptions", named(others))
	case len(others) > 0:
		return fmt.Errorf("mount options %s cannot be given to an image volume, which takes ro, noatime, nodiratime and relatime; "+
			"remove them from mountOptions", named(others))
	}
	return nil
}

// named lists options in quotes, within bounds.
func named(options []string) string {
	slices.Sort(options)
	options = slices.Compact(options)
	more := ""
	if len(options) > maxNamedOptions {
		options, more = options[:maxNamedOptions], ", …"
	}
	quoted := make([]string, len(options))
	for i, option := range options {
		if len(option) > maxOption {
			option = strings.ToValidUTF8(option[:maxOption], "") + "…"
		}
		quoted[i] = fmt.Sprintf("%q", option)
	}
	return strings.Join(quoted, ", ") + more
}
