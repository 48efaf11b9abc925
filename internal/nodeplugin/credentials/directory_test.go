package credentials

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mounted lays secrets out as the kubelet mounts them: the directory's entries are links into a versioned one.
func mounted(t *testing.T, dir, version string, secrets map[string]map[string]string) {
	t.Helper()
	for name, data := range secrets {
		for key, content := range data {
			path := filepath.Join(dir, "..", "data", version, name, key)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o400); err != nil {
				t.Fatal(err)
			}
		}
		link := filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, "..", "data", version, name), link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "..2026_11_20"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func passwords(t *testing.T, dir, image string) (string, error) {
	t.Helper()
	auths, err := Directory(dir).Match(named(t, image))
	var got []string
	for _, a := range auths {
		got = append(got, a.GetPassword())
	}
	return strings.Join(got, " "), err
}

func TestSecretsOfTheDriverAreReadAnewEachTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "credentials")
	match := func(image, want string) {
		t.Helper()
		if got, err := passwords(t, dir, image); err != nil || got != want {
			t.Errorf("image %s got credentials of %q (%v), want %q", image, got, err, want)
		}
	}
	match("r.example/team/app", "") // not mounted
	mounted(t, dir, "1", map[string]map[string]string{"b": secretFor("r.example"), "a": secretFor("r.example/team"), "gone": {}})
	match("r.example/team/app", "r.example/team r.example")
	match("r.example/other", "r.example")
	match("r.example.attacker.test/team/app", "")
	mounted(t, dir, "2", map[string]map[string]string{"b": secretFor("https://r.example/")})
	match("r.example/other", "https://r.example/")
	if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	match("r.example/other", "")
}

func TestABrokenSecretOfTheDriverHidesNoOther(t *testing.T) {
	const hidden = "hunter2"
	for what, broken := range map[string]map[string]string{
		"not JSON":   {dockerConfigJSONKey: hidden},
		"bad entry":  {dockerConfigKey: `{"r.example":{"auth":"` + hidden + `%"}}`},
		"too large":  {dockerConfigJSONKey: hidden + strings.Repeat(" ", maxSecretBytes)},
		"bad syntax": {dockerConfigJSONKey: `{"auths":"` + hidden + `"}`},
	} {
		dir := filepath.Join(t.TempDir(), "credentials")
		mounted(t, dir, "1", map[string]map[string]string{"broken": broken, "good": secretFor("r.example")})
		got, err := passwords(t, dir, "r.example/app")
		if got != "r.example" {
			t.Errorf("%s: got credentials of %q", what, got)
		}
		if err == nil || !strings.Contains(err.Error(), `secret "broken"`) || strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: %v does not name the secret, or contains it", what, err)
		}
	}
}
