package legacy

import (
	"strings"
	"testing"
)

func TestOnlyWhoNamesASecretByAttributesGetsAHint(t *testing.T) {
	for _, c := range []struct {
		attributes map[string]string
		hint       bool
	}{
		{map[string]string{"image": "a", "secret": "s", "secretNamespace": "n"}, true},
		{map[string]string{"secret": "s"}, true},
		{map[string]string{"secretNamespace": "n"}, true},
		{map[string]string{"image": "a", "secret": ""}, false},
		{nil, false},
	} {
		if hint := UnreadSecret(c.attributes); (hint != "") != c.hint || (c.hint && !strings.Contains(hint, "name the secret in nodePublishSecretRef")) {
			t.Errorf("%v: %q", c.attributes, hint)
		}
	}
}
