// Package handover decides how a cluster is handed over from the legacy driver to an ImageCSIDriver, node by node, and back: from what
// is seen, the next step. It remembers nothing, so a run that was killed is continued by the next one.
package handover
