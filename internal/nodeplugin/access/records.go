package access

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxHashes bounds a record. Whoever falls out has the registry asked again.
const maxHashes = 256

// Verdict is what the records say about a caller and a repository.
type Verdict int

const (
	// Unknown repositories were never pulled by this driver, or not since their images left the node.
	Unknown Verdict = iota

	// Proven says that the registry gave the repository's images to this caller's credentials, or to anyone.
	Proven

	// Unproven says that this driver needed credentials for the repository, and they were not the caller's.
	Unproven
)

// Records are a node's, one file for each repository. Their methods may be called at the same time.
type Records struct {
	dir string
	key []byte

	mu      sync.Mutex
	pulls   map[string]int // under way with credentials, by repository
	changes uint64         // grows with everything that Prune must not miss
}

// Open opens the records in a directory of their own, which it makes.
func Open(dir string) (*Records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of access records: %w", err)
	}
	key, err := loadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("opening the access records: %w", err)
	}
	return &Records{dir: dir, key: key, pulls: map[string]int{}}, nil
}

// Verdict tells what is known of a caller with these credentials. A record that cannot be read proves nothing.
func (r *Records) Verdict(repository string, auths []*runtimeapi.AuthConfig) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.read(repository)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Unknown
	case err != nil:
		return Unproven
	case found.Anyone:
		return Proven
	}
	for _, auth := range auths {
		if slices.Contains(found.Hashes, r.hash(repository, auth)) {
			return Proven
		}
	}
	return Unproven
}

// Served stands, in these records, for a service account to whose pods credential providers gave a credential. That
// changes every few hours and the account does not (the kubelet's records name the account, too). A secret can never
// say the same: its credentials have no server address.
func Served(account string) *runtimeapi.AuthConfig {
	return &runtimeapi.AuthConfig{ServerAddress: "service account " + account}
}

// Begin says that a pull with credentials begins. From here on the repository is not Unknown, so that a process that
// is killed between the end of the pull and Grant leaves nothing open. The caller calls end when the pull has ended,
// after Grant; undone tells that the pull certainly brought nothing to the node.
func (r *Records) Begin(repository string) (end func(undone bool), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	_, err = r.read(repository)
	created := errors.Is(err, fs.ErrNotExist)
	if created {
		if err := r.write(record{Repository: repository}); err != nil {
			return nil, fmt.Errorf("recording a pull with credentials: %w", err)
		}
	}
	r.pulls[repository]++
	return func(undone bool) { r.end(repository, created && undone) }, nil
}

func (r *Records) end(repository string, remove bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	if r.pulls[repository]--; r.pulls[repository] > 0 {
		return // another pull may have counted on the record
	}
	delete(r.pulls, repository)
	if !remove {
		return
	}
	if found, err := r.read(repository); err == nil && !found.Anyone && len(found.Hashes) == 0 {
		_ = os.Remove(r.file(repository)) // what stays is only stricter than need be
	}
}

// Grant says that the registry gave an image of the repository to a credential; nil stands for anyone.
func (r *Records) Grant(repository string, auth *runtimeapi.AuthConfig) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	found, err := r.read(repository)
	if err != nil {
		found = record{Repository: repository}
	}
	if auth == nil {
		if found.Anyone {
			return nil
		}
		return r.write(record{Repository: repository, Anyone: true})
	}
	hash := r.hash(repository, auth)
	if found.Anyone || slices.Contains(found.Hashes, hash) {
		return nil
	}
	found.Hashes = append(found.Hashes, hash)
	found.Hashes = found.Hashes[max(0, len(found.Hashes)-maxHashes):]
	return r.write(found)
}

// Prune drops the records of repositories that have no image on the node. It drops nothing if anything happened
// while held was asked, and nothing if the node seems to hold no image at all.
func (r *Records) Prune(held func() (repositories map[string]bool, err error)) error {
	before, busy := r.state()
	if busy {
		return nil
	}
	repositories, err := held()
	if err != nil || len(repositories) == 0 {
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
	for _, repository := range all {
		if !repositories[repository] {
			errs = append(errs, os.Remove(r.file(repository)))
		}
	}
	return errors.Join(errs...)
}

func (r *Records) state() (changes uint64, busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes, len(r.pulls) > 0
}
