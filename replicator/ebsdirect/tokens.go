package ebsdirect

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// tokens are the block tokens of one image. AWS lets them expire, all of one listing at about the same time, while many
// workers read: the first that is refused lists again from the lowest block that is being read, and the others wait for it
// and take theirs from what it got. So memory and requests do not depend on how many blocks an image has, or on how many
// workers were refused.
type tokens struct {
	ask   asker
	renew chan struct{} // holds one while somebody lists again

	mu      sync.Mutex
	byBlock map[int64]token
	reading map[int64]int // blocks that are being read, and by how many
	listing int           // how often was listed again, counting from 1: which token is newer
}

// token is good for one block.
type token struct {
	text    string
	listing int
}

// maxTokens bounds the memory of tokens: one that is gone is asked for again.
const maxTokens = 1 << 15

// maxBlank is how many pages without blocks are passed over in search of a block's token.
const maxBlank = 100

func newTokens(ask asker) tokens {
	return tokens{ask: ask, renew: make(chan struct{}, 1), byBlock: map[int64]token{}, reading: map[int64]int{}, listing: 1}
}

// begin and end say that a block is being read.
func (t *tokens) begin(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading[n]++
}

func (t *tokens) end(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reading[n]--; t.reading[n] == 0 {
		delete(t.reading, n)
	}
}

// keep remembers a block that was just listed.
func (t *tokens) keep(b listed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(b)
}

// put makes room by forgetting what lies far behind; mu is held.
func (t *tokens) put(b listed) {
	t.byBlock[b.n] = token{b.token, t.listing}
	if len(t.byBlock) <= maxTokens {
		return
	}
	maps.DeleteFunc(t.byBlock, func(n int64, _ token) bool { return n < b.n-maxTokens/2 })
	if len(t.byBlock) > maxTokens {
		clear(t.byBlock) // they lie far apart
	}
}

// known gives a block's token if there is one of a later listing than the one that was refused (0: none was).
func (t *tokens) known(n int64, refused int) (token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.byBlock[n]
	return k, ok && k.listing > refused
}

// get gives a block's token of a later listing than the one that was refused, and which listing that is.
func (t *tokens) get(ctx context.Context, n int64, refused int) (string, int, error) {
	for {
		if k, ok := t.known(n, refused); ok {
			return k.text, k.listing, nil
		}
		select {
		case t.renew <- struct{}{}:
		case <-ctx.Done():
			return "", 0, ctx.Err()
		}
		if _, ok := t.known(n, refused); ok { // somebody else's listing had it
			<-t.renew
			continue
		}
		err := t.again(ctx, n)
		<-t.renew
		if err != nil {
			return "", 0, err
		}
	}
}

// again lists anew from the lowest block that is being read, as far as block n, which must be there.
func (t *tokens) again(ctx context.Context, n int64) error {
	from := n
	t.mu.Lock()
	t.listing++
	for b := range t.reading {
		from = min(from, b)
	}
	t.mu.Unlock()
	found, blank, next := false, 0, ""
	for {
		p, err := t.ask(ctx, next, from)
		if err != nil {
			return err
		}
		blank++
		t.mu.Lock()
		for _, b := range p.blocks {
			found, blank = found || b.n == n, 0
			t.put(b)
		}
		t.mu.Unlock()
		if found {
			return nil
		}
		passed := len(p.blocks) > 0 && p.blocks[len(p.blocks)-1].n >= n
		if passed || p.next == "" || blank > maxBlank {
			return fmt.Errorf("block %d is not listed any more: %w", n, source.ErrChanged)
		}
		next = p.next
	}
}
