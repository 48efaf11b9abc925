package probing

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// fingerprintDigits are enough to tell the software of one node before and after a change.
const fingerprintDigits = 12

// Fingerprint identifies what a result on a node depends on: what the probe's pod has, the kernel, the container runtime and the kubelet.
func Fingerprint(node *corev1.Node) string {
	info := node.Status.NodeInfo
	sum := sha256.Sum256([]byte(strings.Join([]string{Revision(), info.KernelVersion, info.ContainerRuntimeVersion, info.KubeletVersion}, "\n")))
	return hex.EncodeToString(sum[:])[:fingerprintDigits]
}

// State is what is known of sandboxes on a node. The zero State is that nothing is known.
type State struct {
	// Proven is set if a sandbox was made and held.
	Proven bool
	// Refused is why none can be, or does; empty if nothing is known against it.
	Refused v1alpha1.SandboxReason
	// Probed is set if the state is the result of a probe, and Running while there is one.
	Probed, Running bool
}

// Of returns the state of a node, by what it reports and by its labels.
func Of(at placement.Node) State {
	if reason := Static(at); reason != "" {
		return State{Refused: reason}
	}
	value := at.Labels[contract.SandboxProbeLabel]
	if value == contract.SandboxProbeRunning {
		return State{Running: true}
	}
	fingerprint, word, _ := strings.Cut(value, ".")
	switch {
	case fingerprint != Fingerprint(at.Node):
		return State{}
	case word == string(sandbox.Proven):
		return State{Proven: true, Probed: true}
	case isProbed(v1alpha1.SandboxReason(word)):
		return State{Refused: v1alpha1.SandboxReason(word), Probed: true}
	}
	return State{}
}

// isProbed reports whether a reason is the result of a probe.
func isProbed(reason v1alpha1.SandboxReason) bool {
	return reason == v1alpha1.SandboxNotStarted || reason == v1alpha1.SandboxUnreadable ||
		(sandbox.Verdict(reason) != sandbox.Proven && sandbox.VerdictOf(string(reason)) != "")
}

// Asked is who asks for sandboxes in the cluster.
type Asked int

// Nobody asks, another driver does, or this one.
const (
	ByNobody Asked = iota
	ByAnother
	ByThis
)

// Settled reports whether there is nothing to do or to say about a node, for a driver.
func (a Asked) Settled(at placement.Node) bool {
	_, probed := at.Labels[contract.SandboxProbeLabel]
	_, proven := at.Labels[contract.SandboxNodeLabel]
	switch {
	case a == ByAnother:
		return true
	case a == ByNobody, !at.Selected, at.Current == "":
		return !probed && !proven
	}
	return Of(at).Proven && isProven(at)
}

func isProven(at placement.Node) bool {
	return at.Labels[contract.SandboxNodeLabel] == contract.SandboxEngine
}
