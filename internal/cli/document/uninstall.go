package document

import (
	"strings"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Installation is the way in which the operator was installed.
type Installation string

// The ways.
const (
	InstalledNot         Installation = "None"
	InstalledByManifests Installation = "Manifests"
	InstalledByHelm      Installation = "Helm"
	InstalledByOLM       Installation = "OLM"
	InstalledByOLMv1     Installation = "OLMv1"
)

// StepState is whether a step can be taken.
type StepState string

// The states.
const (
	// StepDone: nothing is left of it.
	StepDone StepState = "Done"
	// StepToDo: its commands can be run when the steps before it are done.
	StepToDo StepState = "ToDo"
	// StepBlocked: something has to change first.
	StepBlocked StepState = "Blocked"
)

// UninstallStepID names a step; a script may depend on it.
type UninstallStepID string

// The steps, in their order.
const (
	UninstallPods       UninstallStepID = "Pods"
	UninstallClaims     UninstallStepID = "Claims"
	UninstallClasses    UninstallStepID = "StorageClasses"
	UninstallDrivers    UninstallStepID = "Drivers"
	UninstallOperator   UninstallStepID = "Operator"
	UninstallNamespaces UninstallStepID = "Namespaces"
)

// UninstallStep is one step.
type UninstallStep struct {
	ID      UninstallStepID `json:"id"`
	State   StepState       `json:"state"`
	Message string          `json:"message"`
	// Commands take the step, in their order.
	Commands []string `json:"commands,omitempty"`
	// Objects that it is about, as kind/name; pods as namespace/name.
	Objects []string `json:"objects,omitempty"`
}

// Uninstall is how an installation is removed.
type Uninstall struct {
	header
	// Installed is the way in which the operator was installed.
	Installed Installation    `json:"installed"`
	Steps     []UninstallStep `json:"steps"`
	Unread    []seen.Unread   `json:"unread,omitempty"`
}

// NewUninstall returns the document.
func NewUninstall(installed Installation, steps []UninstallStep, unread []seen.Unread) Uninstall {
	return Uninstall{headerOf("Uninstall"), installed, steps, unread}
}

// Step returns the first step of a name; the zero value if there is none.
func (u Uninstall) Step(id UninstallStepID) UninstallStep {
	for _, s := range u.Steps {
		if s.ID == id {
			return s
		}
	}
	return UninstallStep{}
}

// Blocked reports whether pods or a missing operator keep the drivers from being deleted, or that is not known.
func (u Uninstall) Blocked() bool {
	return u.Step(UninstallPods).State == StepBlocked || u.Step(UninstallDrivers).State == StepBlocked
}

// Print implements Document.
func (u Uninstall) Print(p *Printer) {
	p.Line("Installed by: %s", u.Installed)
	for i, s := range u.Steps {
		p.Line("%d  %-8s %-15s %s", i+1, s.State, s.ID, s.Message)
		for _, command := range s.Commands {
			p.Line("            do: %s", command)
		}
	}
	p.unread(u.Unread)
}

// Names implements Document: the objects of steps that are not done.
func (u Uninstall) Names() (names []string) {
	for _, s := range u.Steps {
		if s.State == StepDone {
			continue
		}
		for _, o := range s.Objects {
			if _, pod, found := strings.Cut(o, "/"); found && s.ID == UninstallPods {
				o = "pod/" + pod
			}
			names = append(names, o)
		}
	}
	return names
}
