package signaturepolicy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/BurntSushi/toml"
)

const (
	// configTimeout bounds the question to CRI-O, which answers from memory.
	configTimeout = 5 * time.Second

	// configAge is how long the answer is valid, because CRI-O may restart with another configuration. errorAge is the
	// pause after a question without an answer, because callers ask one after the other.
	configAge = 10 * time.Second
	errorAge  = time.Second

	// maxBytes bounds a policy and CRI-O's configuration.
	maxBytes = 1 << 20

	extension = ".json"
)

// Policies are those of one node (crio.conf(5), signature_policy_dir): a file <namespace>.json takes the place of the
// node's own policy for the pods of that namespace. Their methods may be called concurrently.
type Policies struct {
	dir    string
	client *http.Client

	mu    sync.Mutex
	asked time.Time
	used  string // the directory that CRI-O uses
	err   error
}

// Open returns the policies in a directory, which must be the one that CRI-O, at an endpoint ("unix:///…"), uses. An empty
// directory stands for one that is not visible here.
func Open(dir, endpoint string) *Policies {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(endpoint, "unix://"))
	}
	return &Policies{dir: dir, client: &http.Client{
		Timeout:   configTimeout,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

// Of returns an identifier of a namespace's policy, empty if the namespace has none of its own. An error means that this is
// not known. An empty namespace is an unknown one.
func (p *Policies) Of(ctx context.Context, namespace string) (id string, err error) {
	id, err = p.find(namespace)
	if err != nil || id != "" {
		return id, err
	}
	used, err := p.directory(ctx)
	switch {
	case err != nil:
		return "", err
	case used != "" && filepath.Clean(used) != filepath.Clean(p.dir):
		return "", fmt.Errorf("CRI-O has its policies for namespaces in %s, and only %s is visible here", used, p.dir)
	}
	return "", nil
}

// find looks for a namespace's file.
func (p *Policies) find(namespace string) (id string, err error) {
	if p.dir == "" {
		return "", errors.New("the node's signature policies for namespaces are not visible here")
	}
	dir, err := os.Open(p.dir)
	if err != nil {
		return "", fmt.Errorf("looking for signature policies: %w", err)
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return "", fmt.Errorf("looking for signature policies: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Nlink == 0 {
		return "", fmt.Errorf("%s was removed from the node and may have been made again; the node plugin must be restarted", p.dir)
	}
	if namespace == "" {
		return "", none(dir)
	}
	return identify(filepath.Join(p.dir, namespace+extension))
}

// none returns an error unless a directory holds no policy at all.
func none(dir *os.File) error {
	for {
		entries, err := dir.ReadDir(64)
		for _, entry := range entries {
			if filepath.Ext(entry.Name()) == extension {
				return errors.New("the node has signature policies for namespaces, and the pod's is not known; the CSIDriver needs podInfoOnMount: true")
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("looking for signature policies: %w", err)
		}
	}
}

// identify returns a hash of a file's content, so that a policy that changes is another one. Where a link leads on the
// host is not visible here.
func identify(path string) (id string, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading a signature policy: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading a signature policy: %w", err)
	case len(content) > maxBytes:
		return "", fmt.Errorf("the signature policy %s is larger than %d bytes", path, maxBytes)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// directory returns where CRI-O looks for policies; empty if it has none for namespaces.
func (p *Policies) directory(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := time.Since(p.asked); age > configAge || (p.err != nil && age > errorAge) {
		p.used, p.err = p.ask(ctx)
		p.asked = time.Now()
	}
	return p.used, p.err
}

// ask reads CRI-O's configuration, which it serves on its socket beside CRI.
func (p *Policies) ask(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://crio/config", nil)
	if err != nil {
		return "", err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking CRI-O for its configuration: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxBytes))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err != nil {
		return "", fmt.Errorf("asking CRI-O for its configuration: %w", err)
	}
	var config struct {
		CRIO struct {
			Image *struct {
				PolicyDir string `toml:"signature_policy_dir"`
			} `toml:"image"`
		} `toml:"crio"`
	}
	if err := toml.Unmarshal(content, &config); err != nil {
		return "", fmt.Errorf("reading CRI-O's configuration: %w", err)
	}
	if config.CRIO.Image == nil {
		return "", errors.New("reading CRI-O's configuration: it has no section crio.image")
	}
	return config.CRIO.Image.PolicyDir, nil
}
