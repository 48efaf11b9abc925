package handover

import "fmt"

// Kind is what a step does.
type Kind string

// The steps. Each is one request to the API server, so a run can be killed between any two, and not within one.
const (
	// Mark has a node keep the legacy driver, and node plugins stay away from one that has none.
	Mark Kind = "mark"
	// Prepare has a DaemonSet select marked nodes, and writes the record.
	Prepare Kind = "prepare"
	// Create creates the ImageCSIDriver.
	Create Kind = "create"
	// Admit has a node plugin come to a node, beside the legacy driver's.
	Admit Kind = "admit"
	// Retire has the legacy driver's pod leave a node, where the node plugin is registered.
	Retire Kind = "retire"
	// Withdraw has the node plugin leave a node once no pod uses a volume there.
	Withdraw Kind = "withdraw"
	// Return has the legacy driver's pod come back to a node.
	Return Kind = "return"
	// Delete deletes the ImageCSIDriver.
	Delete Kind = "delete"
	// Recreate creates a CSIDriver object of the record.
	Recreate Kind = "recreate"
	// Restore gives a DaemonSet back what Prepare has changed.
	Restore Kind = "restore"
	// Unmark removes the labels of a handover from a node.
	Unmark Kind = "unmark"
	// Wait is for others to act.
	Wait Kind = "wait"
	// Blocked: a person has to act first.
	Blocked Kind = "blocked"
	// Done: nothing is left to do.
	Done Kind = "done"
)

// Step is what comes next.
type Step struct {
	Kind Kind
	// On is the node, DaemonSet or driver that it is about.
	On string
	// Why is what is waited for, or what a person has to do.
	Why string
	// Left are the nodes that keep the legacy driver, when all is done.
	Left []Left
}

// Ends reports whether no step comes after this one.
func (s Step) Ends() bool { return s.Kind == Done || s.Kind == Blocked }

// Writes reports whether a step changes the cluster.
func (s Step) Writes() bool { return !s.Ends() && s.Kind != Wait }

// String is the step in one line.
func (s Step) String() string {
	switch s.Kind {
	case Mark:
		return fmt.Sprintf("node %s: keeps the legacy driver until its turn", s.On)
	case Prepare:
		return fmt.Sprintf("DaemonSet %s: selects nodes with the label %s=%s; no pod restarts", s.On, KeepLabel, Keep)
	case Create:
		return fmt.Sprintf("ImageCSIDriver %s: is created", s.On)
	case Admit:
		return fmt.Sprintf("node %s: gets a node plugin", s.On)
	case Retire:
		return fmt.Sprintf("node %s: the legacy driver's pod leaves", s.On)
	case Withdraw:
		return fmt.Sprintf("node %s: the node plugin leaves once no pod uses a volume there", s.On)
	case Return:
		return fmt.Sprintf("node %s: gets the legacy driver's pod back", s.On)
	case Delete:
		return fmt.Sprintf("ImageCSIDriver %s: is deleted", s.On)
	case Recreate:
		return fmt.Sprintf("CSIDriver %s: is created as it was", s.On)
	case Restore:
		return fmt.Sprintf("DaemonSet %s: is as it was; pods that came back are restarted one by one", s.On)
	case Unmark:
		return fmt.Sprintf("node %s: labels of the handover are removed", s.On)
	case Wait:
		return fmt.Sprintf("%s: waiting: %s", s.On, s.Why)
	case Blocked:
		return s.Why
	case Done:
	}
	return "done"
}
