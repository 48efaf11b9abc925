package imageaccess

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	keyFile   = "key"
	keyBytes  = 32
	extension = ".json"

	draftSuffix = ".new" // of what replaces a file
)

// hash identifies credentials, for one repository and on one node only.
func (r *Records) hash(repository string, auth *runtimeapi.AuthConfig) string {
	sum := hmac.New(sha256.New, r.key)
	for _, field := range []string{repository, auth.GetUsername(), auth.GetPassword(), auth.GetAuth(),
		auth.GetServerAddress(), auth.GetIdentityToken(), auth.GetRegistryToken()} {
		fmt.Fprintf(sum, "%d:%s", len(field), field)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (r *Records) file(repository string) string {
	sum := sha256.Sum256([]byte(repository))
	return filepath.Join(r.dir, hex.EncodeToString(sum[:])+extension)
}

// read returns fs.ErrNotExist only where there is no record.
func (r *Records) read(repository string) (record, error) {
	found, err := readRecord(r.file(repository))
	if err == nil && found.Repository != repository {
		return record{}, fmt.Errorf("the access record of %s names %q", repository, found.Repository)
	}
	return found, err
}

func readRecord(path string) (record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return record{}, err
	}
	var found record
	if err := json.Unmarshal(data, &found); err != nil {
		return record{}, fmt.Errorf("the access record %s is damaged: %w", path, err)
	}
	if found.Version == 0 {
		// An earlier release recorded to whom the registry gave some image of the repository, and not which one. Nothing of
		// it is used, and the images of the repository on the node do not count as preloaded either.
		return record{Version: version, Repository: found.Repository, Closed: &closed{}}, nil
	}
	if found.Version != version {
		return record{}, fmt.Errorf("the access record %s has the form %d, which this release does not know", path, found.Version)
	}
	return found, nil
}

// readOrClose reads a record to which something is added. It replaces a record that cannot be read by one that closes everything.
func (r *Records) readOrClose(repository string) record {
	found, err := r.read(repository)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return record{Version: version, Repository: repository}
	case err != nil:
		return record{Version: version, Repository: repository, Closed: &closed{Since: r.now()}}
	}
	return found
}

// write replaces a repository's file.
func (r *Records) write(w record) error {
	w.bound(r.now())
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return replace(r.file(w.Repository), data)
}

// keep writes a record, or removes an empty one.
func (r *Records) keep(w record) error {
	if w.empty() {
		return os.Remove(r.file(w.Repository))
	}
	return r.write(w)
}

// list returns all readable records. Damaged ones stay until their next Grant.
func (r *Records) list() ([]record, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "*"+extension))
	if err != nil {
		return nil, err
	}
	var all []record
	for _, path := range paths {
		if found, err := readRecord(path); err == nil && path == r.file(found.Repository) {
			all = append(all, found)
		}
	}
	return all, nil
}

// loadKey reads the node's key, and makes it at the first start. If the key is lost, every caller has to prove its access
// again, and nothing more is lost.
func loadKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == keyBytes {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, replace(path, key)
}

// replace writes a file wholly or not at all, also in a power cut.
func replace(path string, data []byte) error {
	draft := path + draftSuffix
	file, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	if err := os.Rename(draft, path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// removeDrafts removes drafts of a process that was killed before it had replaced a file. A draft that stays is overwritten
// by the next write of its file.
func removeDrafts(dir string) {
	drafts, err := filepath.Glob(filepath.Join(dir, "*"+draftSuffix))
	if err != nil {
		return
	}
	for _, draft := range drafts {
		_ = os.Remove(draft)
	}
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
