package troubles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// imageTroubles are those with the image itself, or how it is named.
func imageTroubles() []trouble {
	return []trouble{
		{
			name: "the image does not exist",
			make: applies(deployment("no-image", team, volume("registry.example/troubles/tols:1", readOnly), idle)),
			asks: []question{why("pod/no-image", "(NoPod)"), printed("kubectl imagecsi why pod/no-image-", "(ImageNotFound)", "registry.example has no image registry.example/troubles/tols:1")},
			cure: func(t *testing.T, a answer) { a.edit(t, "s#troubles/tols:1#troubles/tools:1#") },
			well: "deployment/no-image",
		},
		{
			name: "the registry fails",
			make: applies(pod("no-registry", volume("registry.example/"+faulty+":1", readOnly))),
			asks: []question{why("pod/no-registry", "(RegistryUnreachable)", "kubectl debug node/")},
			cure: func(t *testing.T, a answer) { a.suite.push(t, faulty+":healed", image.File{Path: "/healed"}) },
			well: "pod/no-registry",
		},
		{
			name: "the image's name is none",
			make: applies(pod("no-name", volume("registry.example/Troubles/tools:1", readOnly))),
			asks: []question{why("pod/no-name", "(ReferenceInvalid)", "in small letters")},
			cure: again("no-name", pod("no-name", volume(tools, readOnly))),
			well: "pod/no-name",
		},
		{
			name: "the image is larger than the driver's limit",
			make: applies(deployment("too-large", team, volumeOf(strict, large, readOnly), idle)),
			asks: []question{why("pod/too-large", "(NoPod)"), printed("kubectl imagecsi why pod/too-large-", "(ImageTooLarge)", "spec.volumes.maxImageSize", "use a smaller image")},
			cure: func(t *testing.T, a answer) {
				a.suite.MustShell(t, "kubectl -n "+team+" patch deployment too-large --type=json -p '[{\"op\": \"replace\", "+
					"\"path\": \"/spec/template/spec/volumes/0/csi/volumeAttributes/image\", \"value\": \""+tools+"\"}]'")
			},
			well: "deployment/too-large",
		},
		{
			name: "the image is not on the node and must not be pulled",
			make: applies(pod("never", withAttributes(driver, "image: 'registry.example/troubles/never:1', pullPolicy: Never", readOnly))),
			asks: []question{why("pod/never", "(ImageNotPresent)", "pullPolicy: IfNotPresent")},
			cure: func(t *testing.T, a answer) {
				a.suite.push(t, "troubles/never:1", image.File{Path: "/never"})
				again("never", pod("never", withAttributes(driver, "image: 'registry.example/troubles/never:1', pullPolicy: IfNotPresent", readOnly)))(t, a)
			},
			well: "pod/never",
		},
		{
			name: "the image holds set-uid programs, which the driver refuses",
			make: applies(pod("set-uid", volumeOf(strict, setuid, readOnly))),
			asks: []question{why("pod/set-uid", "(ContentRefused)", "refusedContent", "build the image without them")},
			cure: func(t *testing.T, a answer) {
				a.suite.push(t, "troubles/plain:1", image.File{Path: "/su", Content: []byte("#!/bin/sh\n"), Mode: 0o755})
				a.suite.Must(t, "-n", team, "delete", "pod", "set-uid")
				a.suite.Apply(t, pod("set-uid", volumeOf(strict, "registry.example/troubles/plain:1", readOnly)))
			},
			well: "pod/set-uid",
		},
		{
			name: "a signature policy of the node refuses the image",
			make: func(t *testing.T, s *suite) {
				s.wantsSigned(t, "registry.example/troubles/unsigned")
				s.Apply(t, pod("untrusted", volume(unsigned, readOnly), "nodeName: "+signing))
			},
			asks: []question{why("pod/untrusted", "(ImageUntrusted)", "the policy for images of node "+signing+" refuses "+unsigned, "use an image that the policy allows, such as a signed one")},
			page: "| `is not trusted: this node's policy` |",
			cure: func(t *testing.T, a answer) {
				a.suite.Must(t, "-n", team, "delete", "pod", "untrusted")
				a.suite.Apply(t, pod("untrusted", volume(tools, readOnly), "nodeName: "+signing))
			},
			well: "pod/untrusted",
		},
	}
}

// wantsSigned has the node with CRI-O want images of a repository signed by a key, for pods of the team, as an administrator does
// (containers-policy.json(5)).
func (s *suite) wantsSigned(t *testing.T, repository string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	type requirement map[string]any
	text, err := json.Marshal(map[string]any{
		"default": []requirement{{"type": "insecureAcceptAnything"}},
		"transports": map[string]any{"docker": map[string]any{repository: []requirement{{
			"type": "sigstoreSigned", "keyData": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := s.Node(signing)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(node.Root(), contract.CRIOPolicyDir, team+".json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
