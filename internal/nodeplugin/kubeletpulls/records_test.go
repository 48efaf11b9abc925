package kubeletpulls

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// direct reads files as they are.
type direct struct{ broken error }

func (d direct) ReadFile(_ context.Context, file string, limit int64) ([]byte, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	content, err := os.ReadFile(file)
	if err == nil && int64(len(content)) > limit {
		return nil, errors.New("too large")
	}
	return content, err
}

func (d direct) List(_ context.Context, dir string) ([]string, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	entries, err := os.ReadDir(dir)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

const (
	id         = "sha256:0123"
	repository = "docker.io/team/app"
)

// kubelet writes records as a kubelet does, and returns its root directory.
func kubelet(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, dirOfAll, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func pulledAs(ref string) string { return fmt.Sprintf("pulled/sha256-%x", sha256.Sum256([]byte(ref))) }

func record(version, ref, mapping string) string {
	return fmt.Sprintf(`{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/%s","lastUpdatedTime":"2026-01-01T00:00:00Z","imageRef":%q,"credentialMapping":{%s}}`, version, ref, mapping)
}

func intent(image string) string {
	return fmt.Sprintf(`{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":%q}`, image)
}

func TestWhatTheKubeletPulledWithASecretIsNotOpen(t *testing.T) {
	const secret = `{"kubernetesSecrets":[{"uid":"1","namespace":"a","name":"s","credentialHash":"x"}]}`
	for name, c := range map[string]struct {
		files map[string]string
		open  bool
		fails bool
	}{
		"an older kubelet":                {nil, true, false},
		"another image":                   {map[string]string{pulledAs("sha256:other"): record("v1beta1", "sha256:other", "")}, true, false},
		"with a secret":                   {map[string]string{pulledAs(id): record("v1beta1", id, `"team/app":`+secret)}, false, false},
		"with a secret, by digest":        {map[string]string{pulledAs(repository + "@sha256:1"): record("v1alpha1", repository+"@sha256:1", `"team/app":`+secret)}, false, false},
		"with a service account":          {map[string]string{pulledAs(id): record("v1", id, `"team/app":{"kubernetesServiceAccounts":[{"uid":"1","namespace":"a","name":"s"}]}`)}, false, false},
		"with nobody's":                   {map[string]string{pulledAs(id): record("v1beta1", id, `"team/app":{"nodePodsAccessible":true}`)}, true, false},
		"without knowing with which":      {map[string]string{pulledAs(id): record("v1beta1", id, "")}, false, false},
		"with nobody's, by another name":  {map[string]string{pulledAs(id): record("v1beta1", id, `"evil.example/app":{"nodePodsAccessible":true}`)}, false, false},
		"and is pulling it":               {map[string]string{"pulling/sha256-1": intent("team/app:1")}, false, false},
		"and is pulling another":          {map[string]string{"pulling/sha256-1": intent("r.example/team/app:1"), "pulling/sha256-2.tmp": "{"}, true, false},
		"of a form to come":               {map[string]string{pulledAs(id): `{"kind":"ImagePulledRecord","apiVersion":"other/v1","imageRef":"sha256:0123"}`}, false, true},
		"of another image under its name": {map[string]string{pulledAs(id): record("v1beta1", "sha256:other", "")}, false, true},
		"damaged":                         {map[string]string{pulledAs(id): "{"}, false, true},
		"damaged while pulling":           {map[string]string{"pulling/sha256-1": "{"}, false, true},
	} {
		r := Open(direct{}, kubelet(t, c.files))
		open, err := r.Open(t.Context(), repository, []string{id, repository + "@sha256:1"})
		if open != c.open || (err != nil) != c.fails {
			t.Errorf("%s: open %t, %v", name, open, err)
		}
	}
	if open, err := Open(direct{broken: errors.New("no answer")}, kubelet(t, nil)).Open(t.Context(), repository, []string{id}); open || err == nil {
		t.Errorf("what cannot be read is open %t, %v", open, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(record("v1beta1", id, `"team/app":{"nodePodsAccessible":true}`)), []byte(intent("team/app")))
	f.Add([]byte("{"), []byte("[]"))
	f.Fuzz(func(t *testing.T, pulled, pulling []byte) {
		r := Open(direct{}, kubelet(t, map[string]string{pulledAs(id): string(pulled), "pulling/sha256-1": string(pulling)}))
		if open, err := r.Open(t.Context(), repository, []string{id}); open && err != nil {
			t.Errorf("open, with %v", err)
		}
	})
}
