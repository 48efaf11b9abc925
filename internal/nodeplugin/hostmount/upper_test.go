package hostmount

import (
	"strings"
	"testing"
)

func TestAWritableOverlayTellsItsUpperDirectory(t *testing.T) {
	const table = `61 29 0:52 / /a rw - overlay overlay rw,lowerdir=/l/2:/l/1,upperdir=/s/7/fs,workdir=/s/7/work
62 29 0:53 / /b rw - overlay overlay rw,lowerdir=/l/2,upperdir=/s/8/fs
63 29 0:54 / /c ro - overlay overlay ro,lowerdir=/l/2:/l/1
64 29 0:55 / /d rw - ext4 /dev/sda1 rw,upperdir=/s/9/fs
`
	mounts, err := parseMounts(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/s/7/fs", "/s/8/fs", "", ""} {
		if got := mounts[i].Upper; got != want {
			t.Errorf("%s: upper directory %q, want %q", mounts[i].Target, got, want)
		}
	}
}
