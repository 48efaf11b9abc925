package credentialprovider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	kubeletv1 "k8s.io/kubelet/config/v1"
	providerv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"

	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
	"github.com/image-csi/image-csi-operator/internal/imagepattern"
)

// maxPrograms is how many programs run at a time.
const maxPrograms = 8

// Config locates the providers.
type Config struct {
	Path   string       // of a CredentialProviderConfig, or of a directory of them
	BinDir string       // of the programs
	Logger *slog.Logger // nil is silence
}

// Providers answers questions about images. The configuration is read for each, so that a change of it needs no
// restart.
type Providers struct {
	config   string
	programs programs
	cache    *cache
	slots    *semaphore.Weighted
	asking   singleflight.Group
}

// New returns the providers of a node.
func New(config Config) *Providers {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Providers{
		config:   config.Path,
		programs: programs{dir: config.BinDir, timeout: programTimeout, log: config.Logger},
		cache:    newCache(time.Now),
		slots:    semaphore.NewWeighted(maxPrograms),
	}
}

// Check returns what is wrong with the configuration; nil if nothing is.
func (p *Providers) Check() error {
	_, err := readConfig(p.config)
	return err
}

// Answer asks all providers that serve the image, concurrently, and returns their credentials in the order of the
// configuration. A provider that fails is a problem in the answer and does not affect the others.
func (p *Providers) Answer(ctx context.Context, q api.Question) api.Answer {
	all, err := readConfig(p.config)
	if err != nil {
		return api.Answer{Problems: []string{err.Error()}}
	}
	image, err := imagepattern.Parse(q.Image)
	if err != nil {
		return api.Answer{Problems: []string{"the image's name cannot be matched with providers"}}
	}
	given, failed := make([][]matched, len(all)), make([]error, len(all))
	var asking sync.WaitGroup
	for i, entry := range all {
		if entry.serves(image) {
			asking.Go(func() { given[i], failed[i] = p.ask(ctx, entry, q) })
		}
	}
	asking.Wait()

	var a api.Answer
	var auths []matched
	for i, entry := range all {
		auths = append(auths, given[i]...)
		if failed[i] != nil {
			a.Problems = append(a.Problems, fmt.Sprintf("credential provider %s: %v", entry.Name, failed[i]))
		}
	}
	a.Auths = matching(auths, image)
	return a
}

// ask returns a provider's credentials for an image, from the cache if it may.
func (p *Providers) ask(ctx context.Context, entry provider, q api.Question) ([]matched, error) {
	token, holder, err := tokenFor(entry, q)
	if err != nil {
		return nil, err
	}
	if auths, ok := p.cache.get(entry.id, holder, q.Image); ok {
		return auths, nil
	}
	// The caller may go away; the answer is also for the next one.
	key := fmt.Sprintf("%x %x %s", entry.id, sha256.Sum256([]byte(token)), q.Image)
	result := p.asking.DoChan(key, func() (any, error) { return p.runAndKeep(entry, q.Image, token, holder) }) //nolint:contextcheck // see above
	select {
	case <-ctx.Done():
		return nil, errors.New("it has not answered yet")
	case r := <-result:
		auths, _ := r.Val.([]matched)
		return auths, r.Err
	}
}

func (p *Providers) runAndKeep(entry provider, image, token string, holder [sha256.Size]byte) ([]matched, error) {
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	defer cancel()
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return nil, errors.New("too many credential providers are running at this moment")
	}
	defer p.slots.Release(1)
	a, err := p.programs.run(ctx, entry, image, token)
	if err != nil {
		return nil, err
	}
	if err := refuseEcho(entry, a, token); err != nil {
		return nil, err
	}
	during := entry.DefaultCacheDuration.Duration
	if a.during != nil {
		during = *a.during
	}
	p.cache.put(cacheKey{provider: entry.id, images: scope(a.scope, image), holder: holder}, a.auths, during)
	return a.auths, nil
}

func scope(kind providerv1.PluginCacheKeyType, image string) string {
	switch kind {
	case providerv1.RegistryPluginCacheKeyType:
		return registry(image)
	case providerv1.GlobalPluginCacheKeyType:
		return everything
	default:
		return image
	}
}

// tokenFor returns the token that a provider gets, and the holder for whom its answer is kept (KEP-4412).
func tokenFor(entry provider, q api.Question) (token string, holder [sha256.Size]byte, err error) {
	t := entry.TokenAttributes
	if t == nil {
		return "", holder, nil
	}
	token = q.Tokens[t.ServiceAccountTokenAudience]
	switch {
	case token == "" && *t.RequireServiceAccount:
		return "", holder, fmt.Errorf("it needs the pod's service account token for the audience %q, and none came with the volume; "+
			"spec.credentials.providers.tokenAudiences must name the audience, and Kubernetes must be 1.35 or newer", t.ServiceAccountTokenAudience)
	case token == "":
		return "", holder, nil
	case t.CacheType == kubeletv1.ServiceAccountServiceAccountTokenCacheType && q.ServiceAccount != "":
		return token, sha256.Sum256([]byte("account " + q.ServiceAccount)), nil
	}
	return token, sha256.Sum256([]byte("token " + token)), nil
}

// refuseEcho keeps a token that came back as a password from being kept for other pods, as the kubelet does.
func refuseEcho(entry provider, a answer, token string) error {
	if token == "" || entry.TokenAttributes.CacheType == kubeletv1.TokenServiceAccountTokenCacheType {
		return nil
	}
	for _, k := range a.auths {
		if k.auth.Password == token {
			return errors.New("it returned the service account token as the password, which needs cacheType Token")
		}
	}
	return nil
}
