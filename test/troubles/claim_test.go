package troubles

import "testing"

// claimTroubles are those with claims.
func claimTroubles() []trouble {
	// Troubles happen at once, so each has a class of its own.
	class := func(name string) string {
		return "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: " + name + "}, provisioner: " + driver + "}"
	}
	const named = ", annotations: {csi.storage.k8s.io/image: '" + tools + "'}"
	return []trouble{
		{
			name: "the claim's storage class does not exist",
			make: applies(class("images"), claim("no-class", named, "image"), pod("no-class", claimed("no-class"))),
			asks: []question{why("pvc/no-class", "(NoStorageClass)", "kubectl get storageclass")},
			cure: func(t *testing.T, a answer) {
				a.suite.Must(t, "-n", team, "delete", "pod", "no-class") // which protects the claim
				a.run(t, "kubectl -n "+team+" delete pvc no-class")
				a.suite.Apply(t, claim("no-class", named, "images"), pod("no-class", claimed("no-class")))
			},
			well: "pod/no-class",
		},
		{
			name: "the claim names no image",
			make: applies(class("annotated"), claim("no-annotation", "", "annotated"), pod("no-annotation", claimed("no-annotation"))),
			asks: []question{why("pod/no-annotation", "(ClaimNamesNoImage)")},
			cure: func(t *testing.T, a answer) {
				a.run(t, "kubectl -n "+team+" annotate pvc no-annotation", "REGISTRY/IMAGE:TAG", tools)
			},
			well: "pod/no-annotation",
		},
		{
			name: "a pod with its own users has a claim's volume in another form",
			make: applies(persistentVolume("mapped", "image: '"+tools+"'"), claim("mapped", "", "''", "volumeName: mapped"),
				pod("mapped", claimed("mapped"), "hostUsers: false")),
			asks: []question{why("pod/mapped", "(UserNamespace)", "form: IDMappable")},
			cure: func(t *testing.T, a answer) {
				a.suite.Must(t, "-n", team, "delete", "pod/mapped", "pvc/mapped")
				a.suite.Must(t, "delete", "pv", "mapped")
				a.suite.Apply(t, persistentVolume("mapped", "image: '"+tools+"', form: IDMappable"), claim("mapped", "", "''", "volumeName: mapped"),
					pod("mapped", claimed("mapped"), "hostUsers: false"))
			},
			well: "pod/mapped",
		},
	}
}
