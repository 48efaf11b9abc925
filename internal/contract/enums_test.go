package contract

import (
	"strings"
	"testing"
)

func TestParseReadsOneOfTheValues(t *testing.T) {
	for text, want := range map[string]OtherPlatforms{"Refuse": OtherPlatformsRefuse, "Mount": OtherPlatformsMount, "mount": "", "": "", "Mounts": ""} {
		got, err := Parse(text, OtherPlatformsRefuse, OtherPlatformsMount)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "is not one of Refuse, Mount") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Parse(strings.Repeat("x", 1<<20), FallbackRefuse, FallbackMemory); err == nil || len(err.Error()) > 200 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestPullPoliciesAreReadInAnyCase(t *testing.T) {
	for text, want := range map[string]PullPolicy{"always": PullAlways, "IfNotPresent": PullIfNotPresent, "NEVER": PullNever, "": "", "sometimes": ""} {
		got, err := ParsePullPolicy(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
	}
}
