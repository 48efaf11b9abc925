package volume

import (
	"context"
	"sync"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// maxSizes bounds the cache: it is many more trees than a node has in use.
const maxSizes = 1024

// sizes caches the sizes of trees, which never change: a tree's ID is the digest of its layers' content.
type sizes struct {
	mu    sync.Mutex
	known map[string]imagestore.Size
}

// sizeOf returns the size of a tree. It asks the store if the size is not cached.
func (s *sizes) sizeOf(ctx context.Context, store imagestore.Store, tree string) (imagestore.Size, error) {
	s.mu.Lock()
	size, ok := s.known[tree]
	s.mu.Unlock()
	if ok {
		return size, nil
	}
	size, err := store.Size(ctx, tree)
	if err != nil {
		return imagestore.Size{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSizes {
		s.known = map[string]imagestore.Size{}
	}
	s.known[tree] = size
	return size, nil
}
