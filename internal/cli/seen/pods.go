package seen

// OwnPod is a pod of the operator or of a node plugin, with its containers.
type OwnPod struct {
	Namespace, Name string
	Ready           bool
	Containers      []OwnContainer
}

// OwnContainer is a container of such a pod. One that was restarted has an earlier log.
type OwnContainer struct {
	Name      string
	Restarted bool
}

// Log is the end of a container's log.
type Log struct {
	Namespace, Pod, Container string
	// Before reports whether it is of the container that ran before.
	Before bool
	Text   []byte
	// Failure is why it was not read; empty if it was.
	Failure string
}

// Path is the log's file in a support bundle.
func (l Log) Path() string {
	name := "logs/" + l.Namespace + "/" + l.Pod + "/" + l.Container
	if l.Before {
		name += "-before"
	}
	return name + ".log"
}
