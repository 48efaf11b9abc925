package credentialprovider

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// maxCached bounds the answers kept. If there are more, the one that expires first is dropped.
const maxCached = 1024

// cacheKey identifies the callers and images for which an answer is valid.
type cacheKey struct {
	provider [sha256.Size]byte
	images   string            // an image, a registry, or everything
	holder   [sha256.Size]byte // the token or the service account; zero without one
}

// everything stands for all images of a provider; no image's name has angle brackets.
const everything = "<global>"

// cache keeps answers in memory until they expire.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	answers map[cacheKey]cached
}

type cached struct {
	auths   []matched
	expires time.Time
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, answers: map[cacheKey]cached{}}
}

// get returns an answer of a provider that is valid for an image.
func (c *cache) get(provider, holder [sha256.Size]byte, image string) ([]matched, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, images := range []string{image, registry(image), everything} {
		found, ok := c.answers[cacheKey{provider: provider, images: images, holder: holder}]
		if ok && c.now().Before(found.expires) {
			return found.auths, true
		}
	}
	return nil, false
}

// put keeps an answer for a time; not at all if that is zero.
func (c *cache) put(key cacheKey, auths []matched, during time.Duration) {
	if during <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for other, answer := range c.answers {
		if !now.Before(answer.expires) {
			delete(c.answers, other)
		}
	}
	if _, known := c.answers[key]; !known && len(c.answers) >= maxCached {
		c.dropFirst()
	}
	c.answers[key] = cached{auths: auths, expires: now.Add(during)}
}

// dropFirst needs c.mu.
func (c *cache) dropFirst() {
	var first cacheKey
	var expires time.Time
	for key, answer := range c.answers {
		if expires.IsZero() || answer.expires.Before(expires) {
			first, expires = key, answer.expires
		}
	}
	delete(c.answers, first)
}

// registry returns the host and port of an image's name.
func registry(image string) string {
	host, _, _ := strings.Cut(image, "/")
	return host
}
