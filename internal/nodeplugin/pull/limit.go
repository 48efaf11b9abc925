package pull

import (
	"context"
	"errors"
	"fmt"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/quantity"
)

// ParseMaxImageSize returns a limit such as "20Gi" in bytes; "" is 0, which is no limit.
func ParseMaxImageSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	size, err := quantity.Parse(s)
	if err == nil && size == 0 {
		err = errors.New("the size is not greater than 0; leave it out for no limit")
	}
	return size, err
}

// limit refuses an image that is larger than the limit. The size is the runtime's: containerd counts the compressed download, and
// CRI-O the unpacked files.
func (p *Puller) limit(image string, held *runtimeapi.Image) error {
	size, most := int64(held.GetSize()), p.config.MaxImageBytes
	if most <= 0 || size <= most {
		return nil
	}
	return &Error{
		Kind:  TooLarge,
		Image: image,
		text: fmt.Sprintf("image %s has %s, and this driver's limit is %s; use a smaller image, or ask the administrator to "+
			"raise spec.volumes.maxImageSize", image, mebibytes(size), mebibytes(most)),
	}
}

// heldBefore returns what the runtime holds before a pull, nil for nothing, and reports whether that is known.
func (p *Puller) heldBefore(ctx context.Context, reference string) (held *runtimeapi.Image, known bool) {
	held, err := p.held(ctx, reference)
	if err != nil {
		// Not known, so nothing will be removed.
		return &runtimeapi.Image{}, false
	}
	return held, true
}

// limitPulled refuses an image that was just pulled, and removes it unless a part of it was on the node before. CRI has no size
// before the download.
func (p *Puller) limitPulled(ctx context.Context, key flightKey, before, held *runtimeapi.Image) error {
	refusal := p.limit(key.image, held)
	if refusal == nil || before != nil || !onlyIn(repositoryOf(key.image), held) {
		return refusal
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := p.runtime.remove(ctx, key.reference); err != nil {
		p.config.Logger.Warn("an image that is too large stays until the kubelet collects it", "image", key.image, "error", err)
	}
	return refusal
}

// onlyIn reports whether an image has only one name, in a repository. CRI removes an image with all its names, and another name
// may be in use by other pods.
func onlyIn(repository string, held *runtimeapi.Image) bool {
	if len(held.GetRepoTags()) > 1 {
		return false
	}
	for _, names := range [][]string{held.GetRepoTags(), held.GetRepoDigests()} {
		for _, name := range names {
			if !strings.HasPrefix(name, repository+":") && !strings.HasPrefix(name, repository+"@") {
				return false
			}
		}
	}
	return true
}

func tooLarge(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == TooLarge
}

// mebibytes formats a size for messages.
func mebibytes(size int64) string { return fmt.Sprintf("%.1f MiB", float64(size)/(1<<20)) }
