package access

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
)

// record is what a file holds.
type record struct {
	Repository string   `json:"repository"`       // "registry.example/team/app"
	Anyone     bool     `json:"anyone,omitempty"` // pulled without credentials
	Hashes     []string `json:"hashes,omitempty"` // of credentials that opened it, oldest first
}

// hash tells credentials apart, for one repository and on one node only.
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
	return found, nil
}

func (r *Records) write(w record) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return replace(r.file(w.Repository), data)
}

// list returns the repositories that have a record. Damaged ones have no name and stay until their next Grant.
func (r *Records) list() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "*"+extension))
	if err != nil {
		return nil, err
	}
	var repositories []string
	for _, path := range paths {
		if found, err := readRecord(path); err == nil && path == r.file(found.Repository) {
			repositories = append(repositories, found.Repository)
		}
	}
	return repositories, nil
}

// loadKey reads the node's key and makes it at the first start. With another key every caller is asked for proof
// again, which is all that a lost one costs.
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

// replace writes a file wholly or not at all, a power cut included.
func replace(path string, data []byte) error {
	draft := path + ".new"
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

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
