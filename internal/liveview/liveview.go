// Package liveview holds the documents that a node plugin serves on the loopback of its pod, as JSON, and their paths. The node plugin
// writes them and `kubectl imagecsi` reads them. They hold no credentials and no names of secrets.
package liveview

import "time"

// APIVersion is the version of the documents. Within it fields are added and never change their meaning.
const APIVersion = "live.imagecsi.dev/v1"

// Paths of the documents. All but the first are lists.
const (
	InfoPath    = "/v1/info"
	VolumesPath = "/v1/volumes"
	ImagesPath  = "/v1/images"
	PullsPath   = "/v1/pulls"
	OrphansPath = "/v1/orphans"
)

// Parameters of a list.
const (
	// LimitParameter is how many items an answer may have; there are never more than MaxPage.
	LimitParameter = "limit"

	// ContinueParameter is Continue of the answer before.
	ContinueParameter = "continue"
)

const (
	// MaxPage is the most items of an answer, and how many it has where the question names no limit.
	MaxPage = 250

	// MaxAnswer bounds an answer, in bytes. What does not fit is on the next page.
	MaxAnswer = 1 << 20

	// MaxUsers is how many volumes an image or a pull names.
	MaxUsers = 8
)

// Header starts every document.
type Header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// HeaderOf returns the header of a kind of document.
func HeaderOf(kind string) Header { return Header{APIVersion, kind} }

// List is one page of a list, sorted by the items' keys.
type List[T any] struct {
	Header
	Items []T `json:"items"`
	// Continue leads to the next page; empty on the last one.
	Continue string `json:"continue,omitempty"`
}

// Failure is the answer to a question that has none.
type Failure struct {
	Header
	Message string `json:"message"`
}

// Info is the node plugin itself.
type Info struct {
	Header
	Version string `json:"version"`
	Node    string `json:"node"`
	// Drivers are the CSI driver names that it serves, the primary one first.
	Drivers []string  `json:"drivers"`
	Started time.Time `json:"started"`
	// Runtime is containerd or cri-o, and RuntimeVersion what it reports; empty while it does not answer.
	Runtime        string `json:"runtime"`
	RuntimeVersion string `json:"runtimeVersion,omitempty"`
	MountMode      string `json:"mountMode"`
	Kernel         string `json:"kernel,omitempty"`
	// Confinement is what the kernel says of the process.
	Confinement Confinement `json:"confinement"`
	// NotReady is why the node plugin is not ready; empty if it is.
	NotReady string `json:"notReady,omitempty"`
}

// Confinement is what a process may do, as the kernel reports it of the thread that answers.
type Confinement struct {
	// Capabilities is the effective set in hexadecimal digits (CapEff of proc_pid_status(5)).
	Capabilities string `json:"capabilities,omitempty"`
	// NoNewPrivileges and SeccompFilters are as the kernel counts them: the former 0 or 1, the latter 0 on kernels before 5.9.
	NoNewPrivileges int `json:"noNewPrivileges"`
	SeccompFilters  int `json:"seccompFilters"`
	// Seccomp is Filter, Strict or Disabled.
	Seccomp string `json:"seccomp,omitempty"`
	// AppArmor and SELinux are the thread's labels; empty where the container asks for none or the kernel runs without.
	AppArmor string `json:"appArmor,omitempty"`
	SELinux  string `json:"seLinux,omitempty"`
}

// Storage is where the data of a volume lies.
type Storage string

// The values.
const (
	// StorageImage: the volume is read-only and shows the image itself.
	StorageImage Storage = "Image"
	// StorageDisk: the node's disk holds what the pod writes.
	StorageDisk Storage = "Disk"
	// StorageMemory: the node's memory does.
	StorageMemory Storage = "Memory"
)

// Volume is a volume that is mounted for a pod.
type Volume struct {
	// Pod is the pod's UID, and Name the volume's directory in the pod's: the name in the pod of an inline volume, else that of the
	// PersistentVolume.
	Pod  string `json:"pod"`
	Name string `json:"name"`
	// Tree is the ID of the image tree that the volume shows.
	Tree string `json:"tree,omitempty"`
	// Image and Digest are those for which the tree was pinned first; empty if that is not known. Images with equal layers share a tree.
	Image  string `json:"image,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Form is Overlay or IDMappable, and Access ReadOnly or ReadWrite.
	Form    string  `json:"form"`
	Access  string  `json:"access"`
	Storage Storage `json:"storage"`
	// UsedBytes is what the pod wrote, and LimitBytes how much it may. Both are missing where there is no limit, because then files
	// would have to be counted.
	UsedBytes  *int64 `json:"usedBytes,omitempty"`
	LimitBytes *int64 `json:"limitBytes,omitempty"`
	// Since is when it was mounted for its pod first, by the node's clock at that time; missing if that is not known. Restarts of the node
	// plugin and of the node do not change it.
	Since *time.Time `json:"since,omitempty"`
}

// Key sorts volumes.
func (v Volume) Key() string { return v.Pod + "/" + v.Name }

// PinState is whether a tree is kept from the runtime's garbage collection.
type PinState string

// The values.
const (
	// PinHeld: it is.
	PinHeld PinState = "Pinned"
	// PinMissing: it is in use and not pinned; the next sweep pins it again.
	PinMissing PinState = "Missing"
)

// User is a volume that shows an image.
type User struct {
	// Pod and Name as in Volume.
	Pod  string `json:"pod"`
	Name string `json:"name"`
}

// Image is an image tree that the driver has pinned, or that volumes show.
type Image struct {
	Tree string `json:"tree"`
	// Image and Digest as in Volume.
	Image  string   `json:"image,omitempty"`
	Digest string   `json:"digest,omitempty"`
	Pin    PinState `json:"pin"`
	// SizeBytes is how much the layers hold, as the runtime measured them; missing if it did not.
	SizeBytes *int64 `json:"sizeBytes,omitempty"`
	// Volumes is how many show it, and Users the first MaxUsers of them.
	Volumes int    `json:"volumes"`
	Users   []User `json:"users,omitempty"`
	// UnusedSince is since when sweeps of the running node plugin have found no use of it; missing while there is one, and before a sweep.
	UnusedSince *time.Time `json:"unusedSince,omitempty"`
}

// Key sorts images.
func (i Image) Key() string { return i.Tree }

// PullState is how far a pull is.
type PullState string

// The values.
const (
	// PullWaiting: other pulls of the node have their turn.
	PullWaiting PullState = "Waiting"
	// PullRunning: the container runtime pulls the image.
	PullRunning PullState = "Pulling"
	// PullChecking: the image is on the node, and the registry is asked whether a volume may have it.
	PullChecking PullState = "Checking"
)

// Pull is a pull that goes on, or waits for its turn.
type Pull struct {
	// ID distinguishes the pulls of one node plugin.
	ID    string    `json:"id"`
	Image string    `json:"image"`
	State PullState `json:"state"`
	// Pod, as namespace/name, asked for it first, and Waiting calls of the kubelet wait for it now.
	Pod     string `json:"pod,omitempty"`
	Waiting int    `json:"waiting"`
	// Since is when it was asked for, and Seconds how long ago by the node's own clock.
	Since   time.Time `json:"since"`
	Seconds int64     `json:"seconds"`
	// DoneBytes of TotalBytes of the image's layers are on the node; missing where the runtime does not report them.
	DoneBytes  *int64 `json:"doneBytes,omitempty"`
	TotalBytes *int64 `json:"totalBytes,omitempty"`
}

// Key sorts pulls.
func (p Pull) Key() string { return p.ID }

// OrphanKind is what is left over.
type OrphanKind string

// The values.
const (
	// OrphanData: what a pod wrote to its volume, and the pod is gone.
	OrphanData OrphanKind = "Data"
	// OrphanUnknown: a directory of a volume that cannot be identified. It stays.
	OrphanUnknown OrphanKind = "Unidentified"
	// OrphanLeftover: what the legacy driver left in the container runtime.
	OrphanLeftover OrphanKind = "Leftover"
)

// Orphan is something that the latest sweep found left over.
type Orphan struct {
	Kind OrphanKind `json:"kind"`
	// Name of the directory of the data, or of the leftover in the container runtime.
	Name string `json:"name"`
	// Pod and Volume as in Volume's Pod and Name; empty if they are not known.
	Pod    string `json:"pod,omitempty"`
	Volume string `json:"volume,omitempty"`
	// RemovedIn is how many seconds after the sweep it would be removed; missing if it stays until an administrator removes it.
	RemovedIn *int64 `json:"removedInSeconds,omitempty"`
	// Message is why it is still there.
	Message string `json:"message"`
}

// Key sorts orphans.
func (o Orphan) Key() string { return string(o.Kind) + "/" + o.Name }
