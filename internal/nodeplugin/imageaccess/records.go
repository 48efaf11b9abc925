package imageaccess

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Verdict is what the records show about a caller and an image.
type Verdict int

const (
	// Unknown means that the image did not come by a pull of this driver, as far as the records show.
	Unknown Verdict = iota

	// Proven means that the registry gave this image to this caller's credentials, or to anyone in the caller's scope.
	Proven

	// Unproven means that this driver pulled the image, or may have, and that nothing shows that the caller has access.
	Unproven
)

// Image names an image of a repository on the node.
type Image struct {
	Repository string // "registry.example/team/app"
	Digest     string // of its manifest or index; empty if the runtime reports none
}

// Caller identifies who asks for an image.
type Caller struct {
	// Scope is where a proof counts: empty for the whole node, else what the runtime's answer depends on, such as a
	// namespace and its policy.
	Scope string

	Auths []*runtimeapi.AuthConfig
}

// Records are the access records of a node, one file for each repository. Their methods may be called concurrently.
type Records struct {
	dir string
	key []byte
	now func() time.Time

	mu      sync.Mutex
	pulls   map[string]*pulls // under way with credentials, by repository
	changes uint64            // grows with everything that Prune must not miss
}

// pulls are those of one repository that are under way.
type pulls struct {
	number int
	left   bool // set if one ended without an answer, so the mark stays

	earlier *time.Time // of the mark that was there before them, which stays as well
}

// Open opens the records in a directory of their own, which it makes. No other process may have them open.
func Open(dir string) (*Records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of access records: %w", err)
	}
	removeDrafts(dir)
	key, err := loadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("opening the access records: %w", err)
	}
	return &Records{dir: dir, key: key, now: time.Now, pulls: map[string]*pulls{}}, nil
}

// Verdict returns what is known of a caller and an image. A record that cannot be read proves nothing.
func (r *Records) Verdict(image Image, caller Caller) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.read(image.Repository)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Unknown
	case err != nil:
		return Unproven
	}
	grants, known := found.Images[image.Digest]
	switch {
	case !known && found.closes(image.Digest):
		return Unproven
	case !known:
		return Unknown
	}
	hashes := []string{anyone}
	for _, auth := range caller.Auths {
		hashes = append(hashes, r.hash(image.Repository, auth))
	}
	if slices.ContainsFunc(grants, func(g grant) bool { return g.Scope == caller.Scope && slices.Contains(hashes, g.Hash) }) {
		return Proven
	}
	return Unproven
}

// Given reports whether the registry gave an image to any caller in a scope.
func (r *Records) Given(image Image, scope string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.read(image.Repository)
	return err == nil && slices.ContainsFunc(found.Images[image.Digest], func(g grant) bool { return g.Scope == scope })
}

// Served returns what stands in these records for a service account whose pods get credentials from credential providers.
// Such credentials change every few hours and the account does not; the kubelet's records name the account, too. No
// credential of a secret is equal to it, because those have no server address.
func Served(account string) *runtimeapi.AuthConfig {
	return &runtimeapi.AuthConfig{ServerAddress: "service account " + account}
}

// Begin records that a pull that may use credentials begins, and which digests of the repository the node holds; none if
// that is not known. From here on no other digest is Unknown, so that a process that is killed between the end of the pull
// and Grant leaves nothing open. When the pull has ended, and after Grant, the caller calls one of the methods of the
// result.
func (r *Records) Begin(repository string, held []string) (*Pull, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	found := r.readOrClose(repository)
	under := r.pulls[repository]
	if under == nil {
		under = &pulls{}
		if found.Closed != nil {
			since := found.Closed.Since
			under.earlier = &since
		}
	}
	if found.Closed == nil {
		found.Closed = &closed{Except: held}
	} else {
		found.Closed.Except = slices.DeleteFunc(found.Closed.Except, func(d string) bool { return !slices.Contains(held, d) })
	}
	found.Closed.Since = r.now()
	if err := r.write(found); err != nil {
		return nil, fmt.Errorf("recording a pull with credentials: %w", err)
	}
	under.number++
	r.pulls[repository] = under
	return &Pull{records: r, repository: repository}, nil
}

// Pull is a pull that has begun.
type Pull struct {
	records    *Records
	repository string
}

// Brought records that everything that the pull brought has a grant.
func (p *Pull) Brought() { p.records.end(p.repository, func(*record, *pulls) {}) }

// Failed records that the runtime answered with an error, and which digests of the repository the node holds after it that it may
// not have held before. They stay closed.
func (p *Pull) Failed(brought []string) {
	p.records.end(p.repository, func(r *record, _ *pulls) { r.close(brought) })
}

// Unanswered records that it is not known what the pull brought, or will bring.
func (p *Pull) Unanswered() {
	p.records.end(p.repository, func(_ *record, under *pulls) { under.left = true })
}

// end records the end of a pull. The mark is removed with the last one, unless it stands for another pull, too.
func (r *Records) end(repository string, note func(*record, *pulls)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	under := r.pulls[repository]
	under.number--
	if under.number == 0 {
		delete(r.pulls, repository)
	}
	found, err := r.read(repository)
	if err != nil {
		return // it proves nothing, or was removed by hand
	}
	note(&found, under)
	switch {
	case under.number > 0 || under.left || found.Closed == nil:
	case under.earlier != nil:
		found.Closed.Since = *under.earlier
	default:
		found.Closed = nil
	}
	_ = r.keep(found) // an unwritten record is only stricter than necessary
}

// Grant records that the registry gave an image to a credential in a scope; nil stands for anyone there. The digests are
// those by which the node knows the image.
func (r *Records) Grant(repository string, digests []string, scope string, auth *runtimeapi.AuthConfig) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	found := r.readOrClose(repository)
	given := grant{Scope: scope, Hash: anyone}
	if auth != nil {
		given.Hash = r.hash(repository, auth)
	}
	changed := false
	for _, digest := range digests {
		if digest != "" && !slices.Contains(found.Images[digest], given) {
			found.add(digest, given)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return r.write(found)
}

// Refuse records that the registry refused a repository to a credential, or, for nil, to anyone in a scope. Earlier grants
// no longer count, whatever the digest, because registries grant access by repository.
func (r *Records) Refuse(repository, scope string, auth *runtimeapi.AuthConfig) error {
	refused := func(g grant) bool { return g.Hash == anyone && g.Scope == scope }
	if auth != nil {
		hash := r.hash(repository, auth)
		refused = func(g grant) bool { return g.Hash == hash }
	}
	return r.revoke(repository, refused)
}

// Distrust records that the runtime's policy refused an image of a repository in a scope.
func (r *Records) Distrust(repository, scope string) error {
	return r.revoke(repository, func(g grant) bool { return g.Scope == scope })
}

// revoke removes grants. An image without any stays closed.
func (r *Records) revoke(repository string, refused func(grant) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.read(repository)
	if err != nil {
		return nil // there is none, or one that proves nothing
	}
	changed := false
	for digest, grants := range found.Images {
		if slices.ContainsFunc(grants, refused) {
			found.Images[digest] = slices.DeleteFunc(grants, refused)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	r.changes++
	return r.write(found)
}
