package e2e

import "testing"

// crioLosesItsPrivileges has the CRI-O node's node plugin mount in the host's namespace, while pods use what the privileged one
// mounted. It leaves pods that use what the other one mounted.
func crioLosesItsPrivileges(t *testing.T, s *suite) busy {
	node := nodes()["crio"]
	before := s.busyPodsOnCRIO(t, "before")
	s.setMountMode(t, `[{"name": "crio", "mountMode": "Nsenter"}]`, "Nsenter", "false")
	podIsScoped(t, s, "crio")
	before.stillWork(t)
	before.end(t)
	s.waitForWritableDirectories(t, node, 0)
	for _, step := range []func(*testing.T, *suite){writableVolume, persistentVolume, mountsInsideAVolume} {
		step(t, s)
	}
	return s.busyPodsOnCRIO(t, "during")
}

// crioRegainsItsPrivileges goes back to the class's own mount mode, while pods use what the unprivileged node plugin mounted.
func crioRegainsItsPrivileges(t *testing.T, s *suite, during busy) {
	during.stillWork(t)
	s.setMountMode(t, "null", "Bidirectional", "true")
	during.stillWork(t)
	after := s.busyPodsOnCRIO(t, "after")
	during.end(t)
	s.waitForWritableDirectories(t, nodes()["crio"], 1)
	after.stillWork(t)
	after.end(t)
	s.waitForWritableDirectories(t, nodes()["crio"], 0)
}

// busyPodsOnCRIO starts a pod that reads and one that writes on the CRI-O node.
func (s *suite) busyPodsOnCRIO(t *testing.T, name string) busy {
	t.Helper()
	b := busy{suite: s, rounds: map[string]int{}}
	b.start(t, name, "crio")
	b.stillWork(t)
	return b
}

// setMountMode sets the driver's node classes, and waits until class crio's node plugin has the mode, is privileged or not, and is
// ready.
func (s *suite) setMountMode(t *testing.T, classes, mode, privileged string) {
	t.Helper()
	s.must(t, "patch", "imagecsidriver", driver, "--type=merge", "-p", `{"spec": {"nodeClasses": `+classes+`}}`)
	s.waitFor(t, soon, privileged+" true", "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver+",imagecsi.dev/node-class=crio",
		"-o", "jsonpath={.items[*].spec.containers[0].securityContext.privileged} {.items[*].status.containerStatuses[0].ready}")
	s.waitFor(t, soon, mode, "get", "imagecsidriver", driver, "-o", `jsonpath={.status.nodeClasses[?(@.name=="crio")].mountMode}`)
}
