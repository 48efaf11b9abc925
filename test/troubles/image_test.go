package troubles

import (
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
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
	}
}
