package server

import (
	"errors"
	"log/slog"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/distribution/reference"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/credentials"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

const (
	// maxVolumeID is more than the CSI spec's 128 bytes, because the volume ID of a PersistentVolume may be an image
	// reference.
	maxVolumeID = 1024

	// maxAttributes bounds keys and values together. The CSI spec allows 4 KiB ("Size Limits"); authors of manifests do
	// not know that, and no volume needs this much.
	maxAttributes = 64 << 10

	// maxPath is the kernel's PATH_MAX without the final zero byte.
	maxPath = 4095

	// errAccessMode has the legacy driver's text, by which its users know the error.
	errAccessMode = "AccessMode of PV can be only ReadOnlyMany or ReadOnlyOnce"
)

// errWritable refuses a writable volume of a driver whose volumes are all read-only.
var errWritable = errors.New("the driver serves read-only volumes only (spec.volumes.access of its ImageCSIDriver is ReadOnly): set " +
	"readOnly: true in the volume's csi section")

// requests turns the kubelet's calls into validated requests. Every error is InvalidArgument.
type requests struct {
	kubeletRoot string
	policy      contract.PullPolicy
	access      contract.Access
	limits      SizeLimits
	shared      credentials.Directory
	providers   *credentials.Providers
	images      imagerules.File
	log         *slog.Logger
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func (q requests) publish(r *csi.NodePublishVolumeRequest) (volume.Request, error) {
	if err := q.place(r.GetVolumeId(), r.GetTargetPath()); err != nil {
		return volume.Request{}, err
	}
	if pods := kubeletpods.Beneath(q.kubeletRoot); !pods.IsTarget(r.GetTargetPath()) {
		return volume.Request{}, invalid("the target path %q is not where a kubelet has a CSI volume of a pod, which is %s",
			words.Shorten(r.GetTargetPath(), 256), pods.TargetOf("<pod UID>", "<volume>"))
	}
	attributes := r.GetVolumeContext()
	if size := sizeOf(attributes); size > maxAttributes {
		return volume.Request{}, invalid("the volume attributes have %d bytes, and %d are allowed", size, maxAttributes)
	}
	inline := attributes[contract.EphemeralAttribute] == "true"
	options := r.GetVolumeCapability().GetMount().GetMountFlags()
	writable, err := access(r.GetVolumeCapability(), inline, r.GetReadonly() || slices.Contains(options, "ro"))
	if err != nil {
		return volume.Request{}, err
	}
	if err := contract.CheckMountOptions(options, writable); err != nil {
		return volume.Request{}, invalid("%v", err)
	}
	image, err := parseReference(imageOf(r.GetVolumeId(), attributes, inline))
	if err != nil {
		return volume.Request{}, err
	}
	policy, err := q.policyOf(attributes)
	if err != nil {
		return volume.Request{}, err
	}
	form, err := formOf(attributes, inline || r.GetReadonly())
	if err != nil {
		return volume.Request{}, err
	}
	namespace, err := namespaceOf(attributes)
	if err != nil {
		return volume.Request{}, err
	}
	tokens, secret, err := credentials.SplitTokens(r.GetSecrets())
	if err != nil {
		return volume.Request{}, invalid("%v", err)
	}
	found, err := q.credentials(secret, image)
	if err != nil {
		return volume.Request{}, err
	}
	var sizeLimit int64
	var group *uint32
	if writable {
		if sizeLimit, err = q.limits.limitOf(attributes); err != nil {
			return volume.Request{}, err
		}
		if group, err = groupOf(r.GetVolumeCapability()); err != nil {
			return volume.Request{}, err
		}
	}
	refusedContent, refused := q.refused(image, writable)
	return volume.Request{
		VolumeID: r.GetVolumeId(),
		Target:   r.GetTargetPath(),
		Image:    image.String(),
		Writable: writable,
		Form:     form,
		Policy:   policy,
		Auths:    found.auths,
		Provided: q.providers.For(image, tokens),
		Pod:      podOf(attributes),

		Namespace: namespace,
		Sources:   found.sources,
		Unmatched: found.unmatched,
		SizeLimit: sizeLimit,
		Group:     group,

		Refused:        refused,
		RefusedContent: refusedContent,
	}, nil
}

// refused returns what an image must not hold, and why the driver's administrator does not want such a volume; nil if there is no
// reason.
func (q requests) refused(image reference.Named, writable bool) (content []contract.ImageContent, err error) {
	if writable && q.access == contract.AccessReadOnly {
		return nil, errWritable
	}
	return q.images.Check(image)
}

// credentialsFound are the credentials for an image, and where they come from.
type credentialsFound struct {
	auths     []*runtimeapi.AuthConfig
	sources   []string // of auths
	unmatched []string // what has none
}

// credentials returns the volume's own credentials, then the driver's. A useless secret of the driver is not the volume's
// fault, so it is only logged.
func (q requests) credentials(secret map[string]string, image reference.Named) (credentialsFound, error) {
	keyring, err := credentials.FromSecret(secret)
	if err != nil {
		return credentialsFound{}, invalid("%v", err)
	}
	ofVolume, err := keyring.Find(image)
	if err != nil {
		return credentialsFound{}, invalid("%v", err)
	}
	shared, err := q.shared.Find(image)
	if err != nil {
		q.log.Warn("secrets of the driver are ignored", "error", err)
	}
	var found credentialsFound
	if len(secret) > 0 && len(ofVolume) == 0 {
		found.unmatched = []string{credentials.VolumeSecret}
	}
	for _, credential := range append(ofVolume, shared...) {
		found.auths, found.sources = append(found.auths, credential.Auth), append(found.sources, credential.Source)
	}
	return found, nil
}

func (q requests) unpublish(r *csi.NodeUnpublishVolumeRequest) error {
	return q.place(r.GetVolumeId(), r.GetTargetPath())
}

// look checks the names of a volume for a call that only reads. At a path at which no volume can be, there is none.
func (q requests) look(volumeID, target string) error {
	err := q.place(volumeID, target)
	if err != nil && volumeID != "" && target != "" {
		return status.Error(codes.NotFound, status.Convert(err).Message())
	}
	return err
}

// place checks what identifies a volume on the node.
func (q requests) place(volumeID, target string) error {
	switch {
	case volumeID == "":
		return invalid("the volume ID is missing")
	case len(volumeID) > maxVolumeID:
		return invalid("the volume ID has %d bytes, and %d are allowed", len(volumeID), maxVolumeID)
	case hasControl(volumeID):
		return invalid("the volume ID %q has control characters", words.Shorten(volumeID, 80))
	}
	return q.target(target)
}

// target accepts only a plain path beneath the kubelet's root, outside the directories that hold the sockets and the data of
// drivers. Nothing is published at most of these, but what earlier releases published there can be unpublished.
func (q requests) target(path string) error {
	switch {
	case path == "":
		return invalid("the target path is missing")
	case len(path) > maxPath:
		return invalid("the target path has %d bytes, and %d are allowed", len(path), maxPath)
	case hasControl(path):
		return invalid("the target path %q has control characters", words.Shorten(path, 256))
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		return invalid("the target path %q is not an absolute path in its shortest form", words.Shorten(path, 256))
	}
	below, ok := strings.CutPrefix(path, strings.TrimSuffix(q.kubeletRoot, "/")+"/")
	if !ok || below == "" {
		return invalid("the target path %q is not beneath the kubelet's root %s", words.Shorten(path, 256), q.kubeletRoot)
	}
	if first, _, _ := strings.Cut(below, "/"); first == contract.PluginsDir || first == contract.RegistryDir {
		return invalid("the target path %q is in a directory of plugins", words.Shorten(path, 256))
	}
	return nil
}

// access reports whether the volume is writable. Inline volumes are, unless the pod sets readOnly. PersistentVolumes never
// are, and must be declared read-only.
func access(capability *csi.VolumeCapability, inline, readOnly bool) (writable bool, err error) {
	if capability == nil {
		return false, invalid("the volume capability is missing")
	}
	if capability.GetBlock() != nil {
		return false, invalid("an image cannot be a block volume; use volumeMode: Filesystem")
	}
	mode := capability.GetAccessMode().GetMode()
	reader := mode == csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY ||
		mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	if !inline && !reader {
		return false, invalid(errAccessMode)
	}
	return inline && !reader && !readOnly, nil
}

// groupOf returns the pod's fsGroup, nil if it has none.
func groupOf(capability *csi.VolumeCapability) (*uint32, error) {
	text := capability.GetMount().GetVolumeMountGroup()
	if text == "" {
		return nil, nil //nolint:nilnil // no group is no error
	}
	// 2^32-1 stands for "no change" in chown(2).
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id == math.MaxUint32 {
		return nil, invalid("the volume mount group %q is not the number of a group", words.Shorten(text, 32))
	}
	group := uint32(id)
	return &group, nil
}

// imageOf returns the image's name: the attribute volumeHandle, else the attribute image, else a PersistentVolume's handle.
func imageOf(volumeID string, attributes map[string]string, inline bool) string {
	for _, key := range []string{contract.VolumeHandleAttribute, contract.ImageAttribute} {
		if image := attributes[key]; image != "" {
			return image
		}
	}
	if inline {
		return ""
	}
	return volumeID
}

func (q requests) policyOf(attributes map[string]string) (contract.PullPolicy, error) {
	if value := attributes[contract.PullPolicyAttribute]; value != "" {
		policy, err := contract.ParsePullPolicy(value)
		if err != nil {
			return "", invalid("volume attribute %s: %v", contract.PullPolicyAttribute, err)
		}
		return policy, nil
	}
	if strings.EqualFold(attributes[contract.PullAlwaysAttribute], "true") {
		return contract.PullAlways, nil
	}
	return q.policy, nil
}

// formOf returns how the volume shows its image. asMounted is false if the container runtime is to make a mount writable that is
// read-only: a claim's, where the pod does not say so, too. It may not do that for a pod with its own users, and the plugin does not know
// whether it is one.
func formOf(attributes map[string]string, asMounted bool) (contract.Form, error) {
	value := attributes[contract.FormAttribute]
	if value == "" {
		return contract.FormOverlay, nil
	}
	form, err := contract.Parse(value, contract.FormOverlay, contract.FormIDMappable)
	switch {
	case err != nil:
		return "", invalid("volume attribute %s: %v", contract.FormAttribute, err)
	case form == contract.FormIDMappable && !asMounted:
		return "", invalid("volume attribute %s of the PersistentVolume is %s, and then the pod has to set readOnly: true beside claimName in its volumes: a "+
			"container runtime cannot make the volume writable for a pod with hostUsers: false", contract.FormAttribute, form)
	}
	return form, nil
}

// podOf returns namespace/name, for messages.
func podOf(attributes map[string]string) string {
	namespace, name := attributes[contract.PodNamespaceAttribute], attributes[contract.PodNameAttribute]
	if name == "" {
		return ""
	}
	return words.Shorten(namespace, 63) + "/" + words.Shorten(name, 253)
}

// namespaceName is a name of a namespace: a label of DNS (RFC 1123).
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// namespaceOf returns the pod's namespace; empty if the kubelet does not send it. A runtime finds files by it.
func namespaceOf(attributes map[string]string) (string, error) {
	namespace := attributes[contract.PodNamespaceAttribute]
	if namespace != "" && !namespaceName.MatchString(namespace) {
		return "", invalid("volume attribute %s: %q is not the name of a namespace", contract.PodNamespaceAttribute, words.Shorten(namespace, 80))
	}
	return namespace, nil
}

func sizeOf(attributes map[string]string) (bytes int) {
	for key, value := range attributes {
		bytes += len(key) + len(value)
	}
	return bytes
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, unicode.IsControl)
}
