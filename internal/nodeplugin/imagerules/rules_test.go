package imagerules

import (
	_ "crypto/sha512" // which the node plugin has for TLS
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// references is one entry of testdata/references.yaml.
type references struct {
	Rules            contract.ImageRules
	Allowed, Refused []string
}

func table(t *testing.T) []references {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "references.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []references
	if err := yaml.UnmarshalStrict(text, &out); err != nil || len(out) == 0 {
		t.Fatal(len(out), "entries:", err)
	}
	return out
}

func named(t *testing.T, image string) reference.Named {
	t.Helper()
	out, err := reference.ParseDockerRef(image)
	if err != nil {
		t.Fatal(image, err)
	}
	return out
}

// write puts rules, or what should be rules, into a file.
func write(t *testing.T, path string, rules any) File {
	t.Helper()
	text, is := rules.(string)
	if !is {
		made, err := json.Marshal(rules)
		if err != nil {
			t.Fatal(err)
		}
		text = string(made)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return File(path)
}

func TestImagesAreHeldToTheRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.json")
	for _, entry := range table(t) {
		file := write(t, path, entry.Rules)
		for _, image := range entry.Allowed {
			if _, err := file.Check(named(t, image)); err != nil {
				t.Errorf("%+v: %v", entry.Rules, err)
			}
		}
		for _, image := range entry.Refused {
			if _, err := file.Check(named(t, image)); !errors.Is(err, ErrRefused) {
				t.Errorf("%+v: %s: %v", entry.Rules, image, err)
			}
		}
	}
	if _, err := File("").Check(named(t, "busybox")); err != nil {
		t.Error("without a file:", err)
	}
}

func TestAChangeOfTheRulesCountsFromTheNextImageOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.json")
	file := write(t, path, contract.ImageRules{})
	if _, err := file.Check(named(t, "busybox")); err != nil {
		t.Fatal(err)
	}
	write(t, path, contract.ImageRules{AllowedImages: []string{"registry.example/"}})
	if _, err := file.Check(named(t, "busybox")); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

func TestTheContentThatIsRefusedComesWithTheAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.json")
	want := []contract.ImageContent{contract.ContentDeviceNodes, contract.ContentSetIDFiles, contract.ContentFileCapabilities}
	got, err := write(t, path, contract.ImageRules{RefusedContent: want}).Check(named(t, "busybox"))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	if got, err := write(t, path, contract.ImageRules{}).Check(named(t, "busybox")); err != nil || len(got) != 0 {
		t.Errorf("without a rule: %q (%v)", got, err)
	}
}

func TestRulesThatCannotBeReadAllowNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules.json")
	for name, text := range map[string]string{
		"empty":              "",
		"cut off":            `{"allowedImages": ["docker.io/`,
		"not an object":      `["docker.io/"]`,
		"null":               `null`,
		"two objects":        `{}{"imagePinning": "Digest"}`,
		"a rule of later":    `{"allowedRegistries": ["docker.io"]}`,
		"a pinning of later": `{"imagePinning": "Signature"}`,
		"a list of another":  `{"allowedImages": "docker.io/"}`,
		"an empty name":      `{"allowedImages": [""]}`,
		"a kind of later":    `{"refusedContent": ["SetIDFiles", "Sockets"]}`,
		"a kind of no name":  `{"refusedContent": [""]}`,
		"too large":          `{"allowedImages": ["` + strings.Repeat("a", maxBytes) + `"]}`,
		"deep":               strings.Repeat("[", maxBytes/2),
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, path, text)
			if _, err := file.Check(named(t, "busybox")); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrRefused) {
				t.Error("check:", err)
			}
			if err := file.Ready(t.Context()); !errors.Is(err, ErrUnknown) {
				t.Error("ready:", err)
			}
		})
	}
	for _, file := range []File{File(filepath.Join(dir, "missing")), File(dir)} {
		if _, err := file.Check(named(t, "busybox")); !errors.Is(err, ErrUnknown) {
			t.Error(file, err)
		}
	}
	if err := write(t, path, contract.ImageRules{}).Ready(t.Context()); err != nil {
		t.Error("ready:", err)
	}
}

func TestARefusalFitsAnEventWithItsAdvice(t *testing.T) {
	var rules contract.ImageRules
	for range 64 {
		rules.AllowedImages = append(rules.AllowedImages, "registry.example/"+strings.Repeat("a", 238))
	}
	_, err := write(t, filepath.Join(t.TempDir(), "rules.json"), rules).Check(named(t, "evil.example/"+strings.Repeat("b", 240)))
	if err == nil || len(err.Error()) > 900 || !strings.Contains(err.Error(), "ask the administrator") || !strings.HasSuffix(err.Error(), " and 63 more") {
		t.Error(err)
	}
}

// FuzzParse wants rules that are written as they were read, or an error: never a panic, and never the loss of a rule.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, ``, `null`, `{"allowedImages":["docker.io/"],"imagePinning":"Digest"}`, `{"imagePinning":"digest"}`,
		`{"ALLOWEDIMAGES":["docker.io/"]}`, `{"allowedImages":[],"allowedImages":["a"]}`, `{"allowedImages":null}`, `[[[[`,
	} {
		f.Add([]byte(seed))
	}
	busybox, err := reference.ParseDockerRef("busybox")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := Parse(text)
		if err != nil {
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatalf("%q is no JSON object: %v", text, err)
		}
		if (rules.pinned && rules.Check(busybox) == nil) || (len(rules.allowed) > 0 && rules.Check(busybox) == nil && !strings.Contains(string(text), "docker.io")) {
			// An entry may be written with escapes.
			if !strings.Contains(string(text), `\`) {
				t.Errorf("%q allows busybox", text)
			}
		}
	})
}
