package contract

import (
	"fmt"
	"strings"
	"testing"
)

func TestMountOptionsHoldInThePodOrAreNamed(t *testing.T) {
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprint("option-", i)
	}
	for _, c := range []struct {
		options  []string
		writable bool
		says     []string // nothing: taken
	}{
		{options: nil},
		{options: []string{"ro", "noatime", "nodiratime", "relatime", "defaults", ""}},
		{options: []string{"ro,noatime", " relatime "}},
		{options: []string{"relatime", "defaults"}, writable: true},
		{options: []string{"noexec"}, says: []string{`"noexec"`, "would not hold in a pod", "remove"}},
		{options: []string{"nosuid", "nodev"}, says: []string{`"nodev", "nosuid"`, "recursiveReadOnly"}},
		{options: []string{"nosymfollow"}, says: []string{`"nosymfollow"`}},
		{options: []string{"ro,noexec"}, says: []string{`"noexec"`}},
		{options: []string{"noexec"}, writable: true, says: []string{`"noexec"`}},
		{options: []string{"rw"}, says: []string{`"rw"`, "takes ro, noatime"}},
		{options: []string{"this-is-no-option", "ro"}, says: []string{`"this-is-no-option"`}},
		{options: []string{"strictatime", "exec", "suid", "bind"}, says: []string{`"bind", "exec", "strictatime", "suid"`}},
		{options: []string{"RO"}, says: []string{`"RO"`}},
		{options: []string{"ro\x00", "a\nb"}, says: []string{`"a\nb", "ro\x00"`}},
		{options: []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`}, says: []string{"context="}},
		{options: []string{"noatime"}, writable: true, says: []string{`"noatime"`, "writable"}},
		{options: []string{strings.Repeat("é", 1<<20)}, says: []string{"…"}},
		{options: many, says: []string{`"option-0"`, ", …"}},
	} {
		err := CheckMountOptions(c.options, c.writable)
		if len(c.says) == 0 {
			if err != nil {
				t.Errorf("%.100q, writable %v: %v", c.options, c.writable, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%.100q, writable %v: taken", c.options, c.writable)
			continue
		}
		if len(err.Error()) > 900 {
			t.Errorf("%.100q: the sentence has %d bytes", c.options, len(err.Error()))
		}
		for _, says := range c.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%.100q: %v, which does not say %q", c.options, err, says)
			}
		}
	}
}
