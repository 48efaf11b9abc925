package contract

import (
	"cmp"
	"fmt"
	"strings"
)

// Names of the profiles that a container may have, as a pod's securityContext spells them. A profile of the node's own is
// ProfileLocalhost, a slash and its name or path.
const (
	ProfileRuntimeDefault = "RuntimeDefault"
	ProfileUnconfined     = "Unconfined"
	ProfileLocalhost      = "Localhost"
)

// VolumeSELinuxType and VolumeSELinuxLevel label the files of volumes where nothing else is asked for: the type that container domains
// may read in every container policy.
const (
	VolumeSELinuxType  = "container_file_t"
	VolumeSELinuxLevel = "s0"
)

// SELinuxUnconfined is the type of containers that SELinux does not confine, in Fedora's and Red Hat's policy (container-selinux).
const SELinuxUnconfined = "spc_t"

// SELinuxSandboxes is the type, in the same policy, of containers that make containers: unlike container_t it may mount a /proc. Pod Security
// lets pods of the level baseline choose it since Kubernetes 1.31.
const SELinuxSandboxes = "container_engine_t"

// Confinement is what a node plugin's container is meant to run under, as the operator asks for it in the container's security
// context and tells the node plugin with FlagConfinement. The zero value asks for nothing.
type Confinement struct {
	// Unprivileged is set for a container without new privileges (no_new_privs), whose capabilities are those of package
	// privileges.
	Unprivileged bool
	// Seccomp is the container's filter of system calls, a profile by its name; empty or ProfileUnconfined asks for none.
	Seccomp string
	// AppArmor is the profile on nodes with AppArmor; empty or ProfileUnconfined asks for none.
	AppArmor string
	// SELinuxType and SELinuxLevel are parts of the label on nodes with SELinux. An empty one is the container runtime's choice.
	SELinuxType, SELinuxLevel string
	// Dropped are capabilities that the container does not have, although package privileges lists them: names with commas between
	// them.
	Dropped string
	// VolumeType and VolumeLevel are parts of the SELinux label that files of volumes show. An empty type is VolumeSELinuxType.
	VolumeType, VolumeLevel string
}

// VolumeContext returns the SELinux label that files of volumes show: the one that is asked for, or the default.
func (c Confinement) VolumeContext() string {
	return "system_u:object_r:" + cmp.Or(c.VolumeType, VolumeSELinuxType) + ":" + cmp.Or(c.VolumeLevel, VolumeSELinuxLevel)
}

// Keys of Confinement's text, and the values of the first.
const (
	keyContainer    = "container"
	keySeccomp      = "seccomp"
	keyAppArmor     = "appArmor"
	keySELinuxType  = "seLinuxType"
	keySELinuxLevel = "seLinuxLevel"
	keyDropped      = "dropped"
	keyVolumeType   = "volumeType"
	keyVolumeLevel  = "volumeLevel"

	containerUnprivileged = "Unprivileged"
	containerPrivileged   = "Privileged"
)

// maxConfinement bounds the text of a Confinement, in bytes. It is more than the bounds of the API's fields add up to.
const maxConfinement = 2048

// String returns the value of FlagConfinement: keys with values, with semicolons between them, as in
// container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined;seLinuxType=spc_t;seLinuxLevel=s0. Of the zero value, it is
// container=Privileged.
func (c Confinement) String() string {
	container := containerPrivileged
	if c.Unprivileged {
		container = containerUnprivileged
	}
	parts := []string{keyContainer + "=" + container}
	for _, field := range c.fields() {
		if *field.value != "" {
			parts = append(parts, field.key+"="+*field.value)
		}
	}
	return strings.Join(parts, ";")
}

// ParseConfinement reads what String returns. The empty text is the zero value.
func ParseConfinement(text string) (Confinement, error) {
	var c Confinement
	if text == "" {
		return c, nil
	}
	if len(text) > maxConfinement {
		return Confinement{}, fmt.Errorf("%.64q… has %d bytes, and at most %d can be read", text, len(text), maxConfinement)
	}
	container := ""
	fields := append(c.fields(), confinementField{keyContainer, &container})
	for part := range strings.SplitSeq(text, ";") {
		key, value, _ := strings.Cut(part, "=")
		known := false
		for _, field := range fields {
			if field.key == key && *field.value == "" && value != "" {
				*field.value, known = value, true
			}
		}
		if !known {
			return Confinement{}, fmt.Errorf("%.64q is not the first key of its name with a value; the keys are %s", part, keysOf(fields))
		}
	}
	kind, err := Parse(container, containerUnprivileged, containerPrivileged)
	if err != nil {
		return Confinement{}, fmt.Errorf("%s: %w", keyContainer, err)
	}
	c.Unprivileged = kind == containerUnprivileged
	return c, nil
}

// confinementField is a field of Confinement that is a text, by its key.
type confinementField struct {
	key   string
	value *string
}

func (c *Confinement) fields() []confinementField {
	return []confinementField{{keySeccomp, &c.Seccomp}, {keyAppArmor, &c.AppArmor}, {keySELinuxType, &c.SELinuxType}, {keySELinuxLevel, &c.SELinuxLevel},
		{keyDropped, &c.Dropped}, {keyVolumeType, &c.VolumeType}, {keyVolumeLevel, &c.VolumeLevel}}
}

func keysOf(fields []confinementField) string {
	var keys []string
	for _, field := range fields {
		keys = append(keys, field.key)
	}
	return strings.Join(keys, ", ")
}
