package contract

import (
	"strings"
	"testing"
)

func TestWhatANodePluginIsToldIsReadBack(t *testing.T) {
	for text, want := range map[string]Confinement{
		"":                     {},
		"container=Privileged": {},
		"container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined;seLinuxType=spc_t;seLinuxLevel=s0": {
			Unprivileged: true, Seccomp: "RuntimeDefault", AppArmor: "Unconfined", SELinuxType: "spc_t", SELinuxLevel: "s0"},
		"container=Unprivileged;seccomp=Localhost/operator/a.json;appArmor=Localhost/a=b;seLinuxLevel=s0:c1,c2": {
			Unprivileged: true, Seccomp: "Localhost/operator/a.json", AppArmor: "Localhost/a=b", SELinuxLevel: "s0:c1,c2"},
		"container=Unprivileged;dropped=FSETID,MKNOD;volumeType=own_t;volumeLevel=s0:c1": {
			Unprivileged: true, Dropped: "FSETID,MKNOD", VolumeType: "own_t", VolumeLevel: "s0:c1"},
	} {
		got, err := ParseConfinement(text)
		if err != nil || got != want {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
		if text != "" && got.String() != text {
			t.Errorf("%q is written as %q", text, got.String())
		}
	}
}

func TestAConfinementThatIsNotUnderstoodIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"seccomp=RuntimeDefault":                      "container",
		"container=Rootless":                          `"Rootless"`,
		"container=Privileged;container=Unprivileged": `"container=Unprivileged"`,
		"container=Privileged;landlock=on":            `"landlock=on"`,
		"container=Privileged;seccomp=":               `"seccomp="`,
		"container=Privileged;seccomp":                `"seccomp"`,
		"container=Privileged;":                       `""`,
		strings.Repeat("x", 1<<20):                    "bytes",
	} {
		got, err := ParseConfinement(text)
		if err == nil || got != (Confinement{}) || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.40q is read as %+v, %.400v", text, got, err)
		}
	}
}

func FuzzConfinement(f *testing.F) {
	f.Add("container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined;seLinuxType=spc_t;seLinuxLevel=s0")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseConfinement(text)
		if err != nil {
			return
		}
		again, err := ParseConfinement(got.String())
		if err != nil || again != got {
			t.Errorf("%q is read as %+v, and its text as %+v, %v", text, got, again, err)
		}
	})
}
