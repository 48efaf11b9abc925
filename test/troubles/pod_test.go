package troubles

import "testing"

// fills writes eight mebibytes into its volume, and then is idle.
const fills = "dd if=/dev/zero of=/image/data bs=1M count=8 && " + idle

// podTroubles are those with what a pod says of its volume, and with who may run it.
func podTroubles() []trouble {
	return []trouble{
		{
			name: "an attribute has a value that does not exist",
			make: applies(pod("bad-value", withAttributes(driver, "image: '"+tools+"', pullPolicy: Sometimes", readOnly))),
			asks: []question{why("pod/bad-value", "(AttributeInvalid)", "pullPolicy", "Always, IfNotPresent, Never")},
			cure: again("bad-value", pod("bad-value", withAttributes(driver, "image: '"+tools+"', pullPolicy: Always", readOnly))),
			well: "pod/bad-value",
		},
		{
			name: "an attribute is misspelt that the driver needs",
			make: applies(pod("bad-key", withAttributes(driver, "imgae: '"+tools+"'", readOnly))),
			asks: []question{why("pod/bad-key", "(NoImage)", "attribute imgae is not known to the driver", "volumeAttributes: {image: ")},
			cure: again("bad-key", pod("bad-key", volume(tools, readOnly))),
			well: "pod/bad-key",
		},
		{
			name: "an attribute that does not exist does nothing",
			make: func(t *testing.T, s *suite) {
				s.Apply(t, pod("no-effect", withAttributes(driver, "image: '"+tools+"', pullpolicy: Always", readOnly)))
				s.waitWell(t, "pod/no-effect")
			},
			asks: []question{why("pod/no-effect", "waits for none", "attribute pullpolicy is not known to the driver and does nothing", "pullPolicy")},
			cure: func(t *testing.T, a answer) {
				a.suite.Must(t, "-n", team, "delete", "pod", "no-effect")
				a.suite.Apply(t, pod("no-effect", withAttributes(driver, "image: '"+tools+"', pullPolicy: Always", readOnly)))
			},
			well: "pod/no-effect",
		},
		{
			name: "a writable volume is full",
			make: applies(deployment("full", team, withAttributes(driver, "image: '"+tools+"', sizeLimit: 4Mi"), fills)),
			asks: []question{{as: developer, command: "logs deployment/full -n " + team, says: []string{"No space left on device"}}},
			page: "| `No space left on device` in a writable volume |",
			cure: func(t *testing.T, a answer) {
				a.suite.MustShell(t, "kubectl -n "+team+" edit deployment/full", "KUBE_EDITOR=sed -i -e 's/sizeLimit: 4Mi/sizeLimit: 16Mi/'")
			},
			well: "deployment/full",
		},
		{
			name: "the driver serves read-only volumes only",
			make: applies(pod("writable", volumeOf(strict, tools))),
			asks: []question{why("pod/writable", "(OnlyReadOnly)", "readOnly: true")},
			cure: again("writable", pod("writable", volumeOf(strict, tools, readOnly))),
			well: "pod/writable",
		},
		{
			name: "the driver's rules do not allow the image",
			make: applies(deployment("not-allowed", team, volumeOf(strict, other, readOnly), idle)),
			asks: []question{why("pod/not-allowed", "(PolicyRefuses)", "may not be a volume", "registry.example/troubles/")},
			cure: func(t *testing.T, a answer) {
				a.suite.Apply(t, deployment("not-allowed", team, volumeOf(strict, tools, readOnly), idle))
			},
			well: "deployment/not-allowed",
		},
		{
			name: "a pod with its own users has a volume in another form",
			make: applies(deployment("own-users", team, volume(tools, readOnly), idle, "hostUsers: false")),
			asks: []question{why("pod/own-users", "(PolicyRefuses)", "add form: IDMappable to its volumeAttributes")},
			cure: func(t *testing.T, a answer) {
				a.suite.Apply(t, deployment("own-users", team, withAttributes(driver, "image: '"+tools+"', form: IDMappable", readOnly), idle, "hostUsers: false"))
			},
			well: "deployment/own-users",
		},
		{
			name: "the namespace's Pod Security level does not allow the pod",
			make: func(t *testing.T, s *suite) {
				s.Apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: narrow, labels: {pod-security.kubernetes.io/enforce: restricted}}}")
				s.Apply(t, deployment("refused", "narrow", volume(tools, readOnly), idle))
			},
			asks: []question{admin("imagecsi why pod/refused -n narrow", "(PodSecurity)", "the Pod Security level of namespace narrow", "runAsNonRoot")},
			cure: func(t *testing.T, a answer) {
				a.suite.Apply(t, deployment("refused", "narrow", volume(tools, readOnly), idle,
					"securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}"))
				a.suite.MustShell(t, `kubectl -n narrow patch deployment refused --type=json -p '[{"op": "add", "path": "/spec/template/spec/containers/0/securityContext", `+
					`"value": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]'`)
				a.suite.Must(t, "-n", "narrow", "wait", "deployment/refused", "--for=condition=Available", "--timeout=90s")
				a.suite.Must(t, "delete", "namespace", "narrow", "--wait=false")
			},
		},
		{
			name: "the driver's name is misspelt",
			make: applies(pod("no-driver", volumeOf("container-images.csi.k8s.io", tools, readOnly))),
			asks: []question{
				why("pod/no-driver", "(DriverAbsent)", "no node plugin serves container-images.csi.k8s.io", "ask who administers the cluster"),
				admin("imagecsi why pod/no-driver -n "+team, "(DriverNotInstalled)", "kubectl get imagecsidrivers"),
			},
			cure: func(t *testing.T, a answer) {
				a.run(t, "kubectl get imagecsidrivers")
				again("no-driver", pod("no-driver", volume(tools, readOnly)))(t, a)
			},
			well: "pod/no-driver",
		},
	}
}
