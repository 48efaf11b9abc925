package imageaccess

import (
	"slices"
	"time"
)

const (
	// version is the form of a file. A file without one is of a release that recorded repositories only.
	version = 2

	// anyone is the hash of no credentials.
	anyone = ""

	// maxGrants bounds the grants of one image, and maxImages the images of one repository. An evicted credential is
	// verified with the registry again.
	maxGrants = 256
	maxImages = 256
)

// record is what a file holds.
type record struct {
	Version    int    `json:"version"`
	Repository string `json:"repository"` // "registry.example/team/app"

	// Images holds the grants for images that this driver pulled, by digest, the oldest first. An image without grants is
	// closed to all.
	Images map[string][]grant `json:"images,omitempty"`

	// Closed is set if a digest without an entry may have come by a pull with credentials.
	Closed *closed `json:"closed,omitempty"`
}

// grant is one proof of access.
type grant struct {
	Scope string `json:"scope,omitempty"`
	Hash  string `json:"hash,omitempty"` // of the credential; empty is anyone
}

// closed is the mark of pulls whose images are not known.
type closed struct {
	Except []string  `json:"except,omitempty"` // digests that the node held before
	Since  time.Time `json:"since"`            // when the last of them began
}

// closes reports whether a digest without an entry is closed to callers without proof. If the runtime reports no digest,
// the image may be any of the repository's.
func (r record) closes(digest string) bool {
	if digest == "" {
		return r.Closed != nil || len(r.Images) > 0
	}
	return r.Closed != nil && !slices.Contains(r.Closed.Except, digest)
}

// add records a grant for a digest.
func (r *record) add(digest string, given grant) {
	if r.Images == nil {
		r.Images = map[string][]grant{}
	}
	r.Images[digest] = append(r.Images[digest], given)
	if surplus := len(r.Images[digest]) - maxGrants; surplus > 0 {
		r.Images[digest] = r.Images[digest][surplus:]
	}
}

// close makes entries for those of the digests that may have come by a pull with credentials.
func (r *record) close(digests []string) {
	for _, digest := range digests {
		if _, known := r.Images[digest]; digest == "" || known || !r.closes(digest) {
			continue
		}
		if r.Images == nil {
			r.Images = map[string][]grant{}
		}
		r.Images[digest] = nil
	}
}

// settle replaces the mark by entries for what the node holds, where there is room for them.
func (r *record) settle(held []string) {
	r.close(held)
	if len(r.Images) <= maxImages {
		r.Closed = nil
	}
}

// bound drops images above the limit, and closes all digests without an entry, so that the dropped ones stay closed.
func (r *record) bound(now time.Time) {
	if len(r.Images) <= maxImages {
		return
	}
	for digest := range r.Images {
		if len(r.Images) <= maxImages {
			break
		}
		delete(r.Images, digest)
	}
	r.Closed = &closed{Since: now}
}

// empty reports whether a record is equivalent to none.
func (r record) empty() bool { return len(r.Images) == 0 && r.Closed == nil }
