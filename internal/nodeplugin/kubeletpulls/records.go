package kubeletpulls

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
)

const (
	// maxRecord bounds a file. The kubelet keeps a hundred secrets and more in one, each of some 200 bytes.
	maxRecord = 1 << 20

	// maxIntents is more pulls than a kubelet has under way.
	maxIntents = 256

	prefix    = "sha256-"
	draft     = ".tmp"
	group     = "kubelet.config.k8s.io/"
	dirOfAll  = "image_manager"
	dirPulled = "pulled"  // one ImagePulledRecord for each image, by the hash of its imageRef
	dirIntent = "pulling" // one ImagePullIntent for each pull that has begun and not ended
)

// pulledRecord and pullIntent are the needed parts of the kubelet's ImagePulledRecord and ImagePullIntent
// (k8s.io/kubelet/config/v1beta1).
type pulledRecord struct {
	Kind              string `json:"kind"`
	APIVersion        string `json:"apiVersion"`
	ImageRef          string `json:"imageRef"`
	CredentialMapping map[string]struct {
		NodePodsAccessible bool `json:"nodePodsAccessible"`
	} `json:"credentialMapping"`
}

type pullIntent struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Image      string `json:"image"`
}

// Files reads the kubelet's files where the kubelet does. fs.ErrNotExist means that there is none.
type Files interface {
	ReadFile(ctx context.Context, file string, limit int64) ([]byte, error)
	List(ctx context.Context, dir string) ([]string, error)
}

// Records are those of one kubelet. A kubelet before 1.33, or one without the feature KubeletEnsureSecretPulledImages, has
// none, and then every image that this driver did not pull counts as preloaded.
type Records struct {
	files Files
	dir   string
}

// Open returns the records of a kubelet by its root directory. Nothing is read yet.
func Open(files Files, kubeletRoot string) *Records {
	return &Records{files: files, dir: filepath.Join(kubeletRoot, dirOfAll)}
}

// Open reports whether the kubelet would give an image of a repository to any pod: it did not pull the image, or the
// registry asked for no credentials that the other pods lack. refs are the names by which the runtime knows the image: its
// ID, and its names by digest. An error means that this is not known.
func (r *Records) Open(ctx context.Context, repository string, refs []string) (bool, error) {
	// The kubelet records a pull before it removes its intent, so the intents are read first.
	if pulling, err := r.pulling(ctx, repository); pulling || err != nil {
		return false, err
	}
	for _, ref := range refs {
		found, err := r.pulled(ctx, ref)
		if err != nil {
			return false, err
		}
		if found != nil && !isOpen(found, repository) {
			return false, nil
		}
	}
	return true, nil
}

// isOpen reports whether a record allows any pod to have the image by its name in a repository.
func isOpen(found *pulledRecord, repository string) bool {
	for name, credentials := range found.CredentialMapping {
		if repositoryOf(name) == repository && credentials.NodePodsAccessible {
			return true
		}
	}
	return false
}

// pulled returns the record of an image, nil if there is none.
func (r *Records) pulled(ctx context.Context, ref string) (*pulledRecord, error) {
	path := filepath.Join(r.dir, dirPulled, fmt.Sprintf("%s%x", prefix, sha256.Sum256([]byte(ref))))
	var found pulledRecord
	err := r.read(ctx, path, &found)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // which is no error
	case err != nil:
		return nil, err
	case found.Kind != "ImagePulledRecord" || !strings.HasPrefix(found.APIVersion, group) || found.ImageRef != ref:
		return nil, fmt.Errorf("the kubelet's record %s has a form that is not known here", path)
	}
	return &found, nil
}

// pulling reports whether the kubelet pulls an image of a repository, or did so when it was last stopped.
func (r *Records) pulling(ctx context.Context, repository string) (bool, error) {
	dir := filepath.Join(r.dir, dirIntent)
	names, err := r.files.List(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the kubelet's pulls: %w", err)
	}
	if len(names) > maxIntents {
		return false, fmt.Errorf("the kubelet has %d pulls under way in %s, and %d are read", len(names), dir, maxIntents)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) || strings.HasSuffix(name, draft) {
			continue
		}
		var intent pullIntent
		err := r.read(ctx, filepath.Join(dir, name), &intent)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // it has ended, and its record is looked for next
		case err != nil:
			return false, err
		case intent.Kind != "ImagePullIntent" || !strings.HasPrefix(intent.APIVersion, group):
			return false, fmt.Errorf("the kubelet's record %s has a form that is not known here", filepath.Join(dir, name))
		case repositoryOf(intent.Image) == repository:
			return true, nil
		}
	}
	return false, nil
}

func (r *Records) read(ctx context.Context, path string, into any) error {
	content, err := r.files.ReadFile(ctx, path, maxRecord)
	if err != nil {
		return fmt.Errorf("reading the kubelet's pulls: %w", err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("the kubelet's record %s cannot be read: %w", path, err)
	}
	return nil
}

// repositoryOf returns the normalised repository of a name that a pod wrote; the name itself if it is none.
func repositoryOf(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return image
	}
	return named.Name()
}
