package credentialprovider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodYAML = `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: one
  matchImages: ["*.example", "registry.example:5000/team"]
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get]
  env: [{name: A, value: b}]
  tokenAttributes: {serviceAccountTokenAudience: aud, cacheType: Token, requireServiceAccount: true, optionalServiceAccountAnnotationKeys: [example.com/role]}
`

const goodJSON = `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"CredentialProviderConfig","providers":[
 {"name":"two","matchImages":["two.example"],"defaultCacheDuration":"0s","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1"}]}`

func TestYAMLAndJSONOfEveryVersionAreRead(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "10.yaml"), goodYAML)
	write(t, filepath.Join(dir, "20.json"), goodJSON)
	write(t, filepath.Join(dir, "30.yml"), strings.NewReplacer("v1beta1", "v1alpha1", `"two"`, `"three"`).Replace(goodJSON))
	write(t, filepath.Join(dir, "README"), "not a configuration")
	all, err := readConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "one two three" {
		t.Errorf("providers %s", got)
	}
	one := all[0]
	if one.DefaultCacheDuration.Duration != 12*time.Hour || one.Args[0] != "get" || one.Env[0].Value != "b" || !*one.TokenAttributes.RequireServiceAccount {
		t.Errorf("read as %+v", one)
	}
	if single, err := readConfig(filepath.Join(dir, "20.json")); err != nil || len(single) != 1 {
		t.Errorf("a single file: %v, %v", single, err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestABadConfigurationIsExplained(t *testing.T) {
	replace := func(old, with string) string { return strings.Replace(goodYAML, old, with, 1) }
	tests := map[string]struct{ text, want string }{
		"no YAML":                {"{", "neither JSON nor YAML"},
		"another kind":           {replace("CredentialProviderConfig", "KubeletConfiguration"), `kind "KubeletConfiguration"`},
		"another version":        {replace("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v2"), "is not a CredentialProviderConfig of kubelet.config.k8s.io/v1"},
		"unknown key":            {replace("args:", "arguments:"), `"arguments"`},
		"path for a name":        {replace("name: one", "name: ../one"), "without '/' and spaces"},
		"no name":                {replace("name: one", "name: ''"), "without '/' and spaces"},
		"other request version":  {replace("credentialprovider.kubelet.k8s.io/v1", "v1"), `apiVersion "v1" is not one of`},
		"matches nothing":        {replace(`["*.example", "registry.example:5000/team"]`, "[]"), "matchImages is empty"},
		"bad pattern":            {replace("*.example", "[.example"), `matchImages: "[.example"`},
		"no cache duration":      {replace("  defaultCacheDuration: 12h\n", ""), "defaultCacheDuration is missing"},
		"negative duration":      {replace("12h", "-1s"), "defaultCacheDuration is missing or below 0"},
		"no audience":            {replace("serviceAccountTokenAudience: aud, ", ""), "serviceAccountTokenAudience is missing"},
		"no word on accounts":    {replace(", requireServiceAccount: true", ""), "requireServiceAccount is missing"},
		"no cache type":          {replace("cacheType: Token", "cacheType: Pod"), `cacheType "Pod" is neither Token nor ServiceAccount`},
		"tokens in beta":         {replace("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1"), "tokenAttributes needs apiVersion kubelet.config.k8s.io/v1"},
		"tokens for beta":        {replace("credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1"), "tokenAttributes: apiVersion must be"},
		"annotations it needs":   {replace("optionalServiceAccountAnnotationKeys", "requiredServiceAccountAnnotationKeys"), "annotations of service accounts (example.com/role), which a CSI driver cannot see without access to the Kubernetes API"},
		"no provider":            {"apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n", "has 0 providers"},
		"the same name twice":    {goodYAML + strings.SplitAfter(goodYAML, "providers:\n")[1], `names "one" twice`},
		"larger than reasonable": {goodYAML + strings.Repeat("#", maxConfigBytes), "is larger than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			write(t, path, tt.text)
			_, err := readConfig(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte(goodJSON))
	f.Fuzz(func(t *testing.T, data []byte) {
		providers, err := parseConfig(data)
		if err != nil {
			return
		}
		for _, p := range providers {
			if p.Name == "" || strings.ContainsAny(p.Name, "/\x00") || p.Name == ".." || len(p.images) == 0 || p.DefaultCacheDuration == nil {
				t.Errorf("an unusable provider was taken: %+v", p)
			}
		}
	})
}
