package imagepattern

import (
	"strings"
	"testing"
)

func mustParse(t testing.TB, text string) Pattern {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	return p
}

func TestImagesMatchAsTheKubeletMatchesThem(t *testing.T) {
	tests := []struct {
		pattern, image string
		covers, opens  bool // as an entry of matchImages, and as the key of a credential
	}{
		{"registry.example", "registry.example/app", true, true},
		{"Registry.Example", "registry.example/app", true, true},
		{"registry.example", "registry.example.attacker.test/app", false, false},
		{"registry.example", "my-registry.example/app", false, false},
		{"registry.example", "registry.example:5000/app", false, false},
		{"registry.example:5000", "registry.example:5000/app", true, true},
		{"registry.example:5000", "registry.example/app", false, false},
		{"*.example", "registry.example/app", true, true},
		{"*.example", "a.registry.example/app", false, false},
		{"*.*.example", "a.registry.example/app", true, true},
		{"registry.*", "registry.attacker/app", true, true},
		{"*.example", "registry.example.attacker.test/app", false, false},
		{"app*.example", "app1.example/x", true, true},
		{"*.dkr.ecr.*.amazonaws.com", "1234.dkr.ecr.eu-west-1.amazonaws.com/team/app", true, true},
		{"*.dkr.ecr.*.amazonaws.com", "1234.dkr.ecr.eu-west-1.amazonaws.com.attacker.test/app", false, false},
		{"registry.example/team", "registry.example/team/app", true, true},
		{"registry.example/team/", "registry.example/team/app", true, true},
		{"registry.example/team/app", "registry.example/team/app", true, true},
		{"registry.example/team", "registry.example/team2/app", true, false}, // the kubelet takes any prefix
		{"registry.example/team", "registry.example/other", false, false},
		{"docker.io", "docker.io/library/busybox", true, true},
		{"https://index.docker.io/v1/", "docker.io/library/busybox", false, true},
		{"https://registry.example/v2/team", "registry.example/team/app", false, true},
		{"registry.example/v1team", "registry.example/v1team/app", true, true},
	}
	for _, tt := range tests {
		p, image := mustParse(t, tt.pattern), mustParse(t, tt.image)
		if got := p.Covers(image); got != tt.covers {
			t.Errorf("matchImages %q covers %q: %v", tt.pattern, tt.image, got)
		}
		if got := p.Opens(image); got != tt.opens {
			t.Errorf("a credential for %q opens %q: %v", tt.pattern, tt.image, got)
		}
	}
}

// FuzzMatch holds the rule that matters: what has other parts in its host is another registry.
func FuzzMatch(f *testing.F) {
	f.Add("*.example/team", "registry.example/team/app")
	f.Add("https://index.docker.io/v1/", "docker.io/library/busybox")
	f.Add("[a-z.example:5000", "a.example:5000/x")
	f.Fuzz(func(t *testing.T, text, image string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		i, err := Parse(image)
		if err != nil {
			return
		}
		if p.Opens(i) && (len(p.parts) != len(i.parts) || p.port != i.port || !strings.HasPrefix(i.path, p.Repository())) {
			t.Errorf("a credential for %q opens %q", text, image)
		}
		_ = p.Covers(i)
	})
}
