package credentials

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

func named(t testing.TB, image string) reference.Named {
	t.Helper()
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		t.Fatalf("parse %q: %v", image, err)
	}
	return ref
}

// secretFor builds a .dockerconfigjson secret with user "u" and a password that is the registry's key.
func secretFor(registries ...string) map[string]string {
	var auths []string
	for _, r := range registries {
		auths = append(auths, fmt.Sprintf("%q:{\"username\":\"u\",\"password\":%q}", r, r))
	}
	return map[string]string{dockerConfigJSONKey: `{"auths":{` + strings.Join(auths, ",") + `}}`}
}

func TestMatchPicksOnlyWhatBelongsToTheImage(t *testing.T) {
	tests := []struct {
		name       string
		registries []string
		image      string
		want       []string
	}{
		{"host", []string{"registry.example"}, "registry.example/app", []string{"registry.example"}},
		{"host with scheme and slash", []string{"https://registry.example/"}, "registry.example/app", []string{"https://registry.example/"}},
		{"host with API version", []string{"https://registry.example/v2/"}, "registry.example/app", []string{"https://registry.example/v2/"}},
		{"host in capitals", []string{"Registry.Example"}, "registry.example/app", []string{"Registry.Example"}},
		{"port", []string{"registry.example:5000"}, "registry.example:5000/app", []string{"registry.example:5000"}},
		{"other port", []string{"registry.example:5000"}, "registry.example:5001/app", nil},
		{"port missing", []string{"registry.example"}, "registry.example:5000/app", nil},
		{"Docker Hub", []string{"https://index.docker.io/v1/"}, "busybox", []string{"https://index.docker.io/v1/"}},
		{"Docker Hub by its other names", []string{"docker.io", "registry-1.docker.io"}, "user/app:1", []string{"docker.io", "registry-1.docker.io"}},
		{"Docker Hub namespace", []string{"docker.io/library"}, "busybox", []string{"docker.io/library"}},
		{"longest path first", []string{"r.example", "r.example/a/b", "r.example/a"}, "r.example/a/b/c", []string{"r.example/a/b", "r.example/a", "r.example"}},
		{"path is the repository", []string{"r.example/a/b"}, "r.example/a/b:tag", []string{"r.example/a/b"}},
		{"path of a neighbour", []string{"r.example/team"}, "r.example/team2/app", nil},
		{"path beneath the repository", []string{"r.example/a/b/c"}, "r.example/a/b", nil},
		{"look-alike with the host as prefix", []string{"registry.example"}, "registry.example.attacker.test/app", nil},
		{"look-alike with the host as suffix", []string{"registry.example"}, "my-registry.example/app", nil},
		{"look-alike with the host in the path", []string{"registry.example"}, "attacker.test/registry.example/app", nil},
		{"host that is a part", []string{"example"}, "registry.example/app", nil},
		{"globs", []string{"*.example"}, "registry.example/app", []string{"*.example"}},
		{"globs with a port", []string{"*.example:5000", "*.example"}, "registry.example:5000/app", []string{"*.example:5000"}},
		{"globs with a path", []string{"*.example/team", "*.example/other"}, "registry.example/team/app", []string{"*.example/team"}},
		{"globs in several parts", []string{"*.dkr.ecr.*.amazonaws.com"}, "1.dkr.ecr.eu-west-1.amazonaws.com/app", []string{"*.dkr.ecr.*.amazonaws.com"}},
		{"a host comes before globs", []string{"*.example", "registry.example"}, "registry.example/app", []string{"registry.example", "*.example"}},
		{"globs cross no dot", []string{"*.example"}, "a.registry.example/app", nil},
		{"globs cross no port", []string{"*.example"}, "registry.example:5000/app", nil},
		{"a look-alike behind globs", []string{"*.example"}, "registry.example.attacker.test/app", nil},
		{"globs in a path are none", []string{"registry.example/*"}, "registry.example/app", nil},
		{"a broken glob", []string{"[a.example", "*.example"}, "b.example/app", []string{"*.example"}},
		{"a key without end", []string{"*.example" + strings.Repeat("*", 5000)}, "registry.example/app", nil},
		{"empty key", []string{""}, "registry.example/app", nil},
		{"key of slashes", []string{"///"}, "registry.example/app", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keyring, err := FromSecret(secretFor(tt.registries...))
			if err != nil {
				t.Fatal(err)
			}
			auths, err := keyring.Match(named(t, tt.image))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range auths {
				got = append(got, a.GetPassword())
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("image %s got credentials of %q, want %q", tt.image, got, tt.want)
			}
		})
	}
}

func TestAFewCredentialsOfManyAreTriedAndEachOnce(t *testing.T) {
	var entries []string
	for i := range 10_000 { // any scheme makes a key of its own
		entries = append(entries, fmt.Sprintf(`"s%05d://r.example":{"username":"u%d","password":"p"}`, i, i/2))
	}
	keyring, err := FromSecret(map[string]string{dockerConfigJSONKey: `{"auths":{` + strings.Join(entries, ",") + `}}`})
	if err != nil {
		t.Fatal(err)
	}
	auths, err := keyring.Match(named(t, "r.example/app"))
	if err != nil || len(auths) != pull.MaxCredentials {
		t.Fatalf("%d credentials, %v", len(auths), err)
	}
	seen := map[string]bool{}
	for _, auth := range auths {
		if seen[auth.GetUsername()] {
			t.Errorf("%s twice", auth.GetUsername())
		}
		seen[auth.GetUsername()] = true
	}
}

func TestBothSecretFormatsAndEveryKindOfCredential(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("alice:s3cret:with:colons"))
	tests := []struct {
		name   string
		secret map[string]string
		want   string
	}{
		{"auth", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"auth":"` + auth + `"}}}`}, "alice|s3cret:with:colons||"},
		{"auth without padding", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"auth":"` + strings.TrimRight(auth, "=") + `"}}}`}, "alice|s3cret:with:colons||"},
		{"auth wins over the fields", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"auth":"` + auth + `","username":"bob"}}}`}, "alice|s3cret:with:colons||"},
		{"user and password", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"username":"bob","password":"p"}}}`}, "bob|p||"},
		{"identity token", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"identitytoken":"tok"}}}`}, "||tok|"},
		{"registry token", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"registrytoken":"tok"}}}`}, "|||tok"},
		{"old format", map[string]string{dockerConfigKey: `{"r.example":{"auth":"` + auth + `"}}`}, "alice|s3cret:with:colons||"},
		{"new format wins", map[string]string{
			dockerConfigJSONKey: `{"auths":{"r.example":{"username":"new"}}}`,
			dockerConfigKey:     `{"r.example":{"username":"old"}}`,
		}, "new|||"},
		{"entry without credentials", map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{}}}`}, ""},
		{"no auths", map[string]string{dockerConfigJSONKey: `{}`}, ""},
		{"no secret", nil, ""},
		{"a broken entry of another registry", map[string]string{
			dockerConfigJSONKey: `{"auths":{"other.example":{"auth":"%%%"},"r.example":{"username":"bob"}}}`}, "bob|||"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keyring, err := FromSecret(tt.secret)
			if err != nil {
				t.Fatal(err)
			}
			auths, err := keyring.Match(named(t, "r.example/app"))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(auths) > 0 {
				a := auths[0]
				got = strings.Join([]string{a.GetUsername(), a.GetPassword(), a.GetIdentityToken(), a.GetRegistryToken()}, "|")
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The access records know service accounts by a server address; see imageaccess.Served.
func TestASecretCannotNameAServerAddress(t *testing.T) {
	keyring, err := FromSecret(map[string]string{dockerConfigJSONKey: `{"auths":{"r.example":{"username":"u","serveraddress":"service account ns/a/1"}}}`})
	if err != nil {
		t.Fatal(err)
	}
	auths, err := keyring.Match(named(t, "r.example/app"))
	if err != nil || len(auths) != 1 || auths[0].GetServerAddress() != "" {
		t.Errorf("got %v (%v)", auths, err)
	}
}

func TestBadSecretsAreExplainedWithoutTheSecret(t *testing.T) {
	const hidden = "hunter2"
	tests := map[string]map[string]string{
		"no known key":    {"password": hidden},
		"not JSON":        {dockerConfigJSONKey: hidden},
		"auths a string":  {dockerConfigJSONKey: `{"auths":"` + hidden + `"}`},
		"entry a string":  {dockerConfigKey: `{"r.example":"` + hidden + `"}`},
		"auth not base64": {dockerConfigJSONKey: `{"auths":{"r.example":{"auth":"` + hidden + `%"}}}`},
		"auth no colon":   {dockerConfigJSONKey: `{"auths":{"r.example":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(hidden)) + `"}}}`},
		"too large":       {dockerConfigJSONKey: hidden + strings.Repeat(" ", maxSecretBytes)},
	}
	for name, secret := range tests {
		t.Run(name, func(t *testing.T) {
			keyring, err := FromSecret(secret)
			if err == nil {
				_, err = keyring.Match(named(t, "r.example/app"))
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), hidden) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte(hidden))) {
				t.Errorf("the error contains the secret: %v", err)
			}
			if !strings.Contains(err.Error(), "nodePublishSecretRef") {
				t.Errorf("the error does not say where the secret is named: %v", err)
			}
		})
	}
}

func FuzzFromSecret(f *testing.F) {
	f.Add(`{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"}}}`, true)
	f.Add(`{"r.example/team":{"username":"a","password":"b"}}`, false)
	f.Add(`{"auths":{"r.example.attacker.test":{"auth":"="}}}`, true)
	f.Fuzz(func(t *testing.T, data string, modern bool) {
		key := dockerConfigKey
		if modern {
			key = dockerConfigJSONKey
		}
		keyring, err := FromSecret(map[string]string{key: data})
		if err != nil {
			return
		}
		image := named(t, "r.example/team/app:1")
		if _, err := keyring.Match(image); err != nil {
			return
		}
		for _, e := range keyring.entries {
			if e.images.Empty() {
				t.Errorf("an entry without a host was kept from %q", data)
			}
		}
	})
}
