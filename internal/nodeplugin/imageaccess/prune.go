package imageaccess

import (
	"errors"
	"os"
	"slices"
	"time"
)

// settleAfter is when a pull of unknown outcome has certainly ended: a runtime ends a pull with its call.
const settleAfter = time.Hour

// Prune drops records of images that the node does not hold, and ends the marks of pulls that have ended without an answer:
// images that came to the node since then stay closed. held returns the digests of each repository with an image on the
// node, and an empty digest for an image whose digest is not known. Nothing is dropped if anything changed while held ran,
// or if the node seems to hold no image at all.
func (r *Records) Prune(held func() (digests map[string][]string, err error)) error {
	r.mu.Lock()
	before := r.changes
	r.mu.Unlock()
	digests, err := held()
	if err != nil || len(digests) == 0 {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != before {
		return nil
	}
	all, err := r.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, found := range all {
		if r.pulls[found.Repository] == nil {
			here, some := digests[found.Repository]
			errs = append(errs, r.prune(found, here, some))
		}
	}
	return errors.Join(errs...)
}

// prune needs r.mu. some reports whether the node holds an image of the repository.
func (r *Records) prune(found record, here []string, some bool) error {
	settled := found.Closed == nil || r.now().Sub(found.Closed.Since) > settleAfter
	if !some && settled {
		return os.Remove(r.file(found.Repository))
	}
	changed := false
	for digest := range found.Images {
		if !slices.Contains(here, digest) && !slices.Contains(here, "") {
			delete(found.Images, digest)
			changed = true
		}
	}
	if found.Closed != nil && settled {
		found.settle(here)
		changed = true
	}
	if !changed {
		return nil
	}
	return r.keep(found)
}
