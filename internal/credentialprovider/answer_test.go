package credentialprovider

import (
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/imagepattern"
)

// response is what a program prints.
func response(cacheKeyType, rest string) string {
	return `{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"` + cacheKeyType + `"` + rest + `}`
}

// auths are the credentials of an answer; the password of a key is the key.
func auths(keys ...string) string {
	var entries []string
	for _, key := range keys {
		entries = append(entries, `"`+key+`":{"username":"u","password":"`+key+`"}`)
	}
	return `,"auth":{` + strings.Join(entries, ",") + `}`
}

func TestCredentialsAreForTheImagesOfTheirKeysTheBestFirst(t *testing.T) {
	keys := auths("*.example", "registry.example", "registry.example/team", "registry.*/team", "other.example", "registry.example.attacker.test", "registry.example:5000.attacker.test", "[")
	a, err := parseAnswer([]byte(response("Image", keys)), requestV1)
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"registry.example/team/app":          "registry.example/team registry.*/team registry.example *.example",
		"registry.example/team2/app":         "registry.example *.example",
		"my-registry.example/app":            "*.example",
		"registry.example.attacker.test/app": "registry.example.attacker.test",
		"registry.example:5000/team/app":     "",
		"a.registry.example/team/app":        "",
	} {
		var got []string
		for _, auth := range matching(a.auths, nameOf(t, image)) {
			got = append(got, auth.Password)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s gets the credentials of %q, want %q", image, got, want)
		}
	}
}

func TestABadAnswerIsExplainedWithoutWhatItHolds(t *testing.T) {
	const hidden = "hunter2"
	secret := `,"auth":{"r.example":{"username":"u","password":"` + hidden + `"}}`
	tests := map[string]struct{ text, want string }{
		"no JSON":         {hidden, "not JSON"},
		"wrong type":      {response("Image", `,"auth":"`+hidden+`"`), "not JSON"},
		"another kind":    {strings.Replace(response("Image", secret), "Response", "Request", 1), "not a CredentialProviderResponse"},
		"another version": {strings.Replace(response("Image", secret), "k8s.io/v1", "k8s.io/v1beta1", 1), "not a CredentialProviderResponse of credentialprovider.kubelet.k8s.io/v1"},
		"no cache key":    {response("", secret), "cacheKeyType"},
		"huge password":   {response("Image", `,"auth":{"r.example":{"password":"`+hidden+strings.Repeat("x", maxFieldBytes)+`"}}`), "above"},
		"too many":        {response("Image", auths(strings.Fields(strings.Repeat("a", maxKeys)+" "+manyHosts(maxKeys+1))...)), "are allowed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseAnswer([]byte(tt.text), requestV1)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), hidden) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func manyHosts(n int) string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, strings.Repeat("h", i+1)+".example")
	}
	return strings.Join(hosts, " ")
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(response("Image", auths("registry.example", "*.example/team"))))
	f.Add([]byte(response("Global", `,"cacheDuration":"0s"`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAnswer(data, requestV1)
		if err != nil {
			return
		}
		for _, auth := range matching(a.auths, nameOf(t, "registry.example/team/app")) {
			if len(auth.Password) > maxFieldBytes {
				t.Error("an unbounded password")
			}
		}
	})
}

func nameOf(t testing.TB, image string) imagepattern.Pattern {
	t.Helper()
	p, err := imagepattern.Parse(image)
	if err != nil {
		t.Fatalf("parse %q: %v", image, err)
	}
	return p
}
