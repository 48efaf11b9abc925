package pull

import (
	"context"
	"strings"
	"sync"
)

// queues gives turns to pulls in two steps: first among the pods of a namespace, then among the namespaces. A namespace never has
// all turns, unless there is only one turn.
type queues struct {
	all *turns
	own int // turns of one namespace

	mu         sync.Mutex
	namespaces map[string]*namespace
}

// namespace is a namespace whose pods have turns or wait for them.
type namespace struct {
	turns *turns
	users int
}

func newQueues(parallel int) *queues {
	return &queues{all: newTurns(parallel), own: max(1, parallel-1), namespaces: map[string]*namespace{}}
}

// take waits for a turn of a pod, "namespace/name", and returns the function that gives it back. If ctx ends first, it
// returns the error of ctx. A caller without a namespace has a share like a namespace's, without its bound.
func (q *queues) take(ctx context.Context, who string) (give func(), err error) {
	name, _, ok := strings.Cut(who, "/")
	if !ok {
		return q.all.give, q.all.take(ctx, who)
	}
	n := q.enter(name)
	if err := n.turns.take(ctx, who); err != nil {
		q.leave(name)
		return nil, err
	}
	if err := q.all.take(ctx, name); err != nil {
		n.turns.give()
		q.leave(name)
		return nil, err
	}
	return func() {
		q.all.give()
		n.turns.give()
		q.leave(name)
	}, nil
}

func (q *queues) enter(name string) *namespace {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.namespaces[name]
	if n == nil {
		n = &namespace{turns: newTurns(q.own)}
		q.namespaces[name] = n
	}
	n.users++
	return n
}

func (q *queues) leave(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.namespaces[name]
	n.users--
	if n.users == 0 {
		delete(q.namespaces, name)
	}
}
