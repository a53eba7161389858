package repo

import (
	"container/list"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// lru keeps the n values used last. It is safe for concurrent use.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	n     int
	order *list.List // of item, newest in front
	at    map[K]*list.Element
}

type item[K comparable, V any] struct {
	key K
	val V
}

func newLRU[K comparable, V any](n int) *lru[K, V] {
	return &lru[K, V]{n: n, order: list.New(), at: make(map[K]*list.Element)}
}

// peek gives k's value if it is kept.
func (l *lru[K, V]) peek(k K) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.at[k]; ok {
		l.order.MoveToFront(e)
		return e.Value.(item[K, V]).val, true
	}
	var none V
	return none, false
}

// get gives k's value, made now if it is not kept.
func (l *lru[K, V]) get(k K, make func() V) V {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.at[k]; ok {
		l.order.MoveToFront(e)
		return e.Value.(item[K, V]).val
	}
	v := make()
	l.at[k] = l.order.PushFront(item[K, V]{k, v})
	if l.order.Len() > l.n {
		e := l.order.Back()
		l.order.Remove(e)
		delete(l.at, e.Value.(item[K, V]).key)
	}
	return v
}

// drop forgets what goes chooses.
func (l *lru[K, V]) drop(goes func(K) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, e := range l.at {
		if goes(k) {
			l.order.Remove(e)
			delete(l.at, k)
		}
	}
}

func isPlain(name string) bool {
	return strings.HasPrefix(name, format.PrefixNeeds) || strings.HasPrefix(name, format.PrefixPlacements)
}

func isPack(name string) bool { return strings.HasPrefix(name, format.PrefixPacks) }
