package verify

import (
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// unread remembers packs that the vault lists and does not deliver: every answer ends early, or with an error, however
// often it is asked. Each try costs the better part of a minute, so after two of them the rest of such a pack is not asked
// for piece by piece.
type unread struct {
	mu    sync.Mutex
	packs map[format.Hash]error
}

// maxUnread bounds the memory. A vault that delivers still fewer is asked for each piece.
const maxUnread = 1 << 14

// why gives what the vault said of a pack when it was given up.
func (u *unread) why(pack format.Hash) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.packs[pack]
}

// note gives a pack up if err says that it does not come; wrong bytes that do come are another matter.
func (u *unread) note(pack format.Hash, err error) bool {
	if !store.Retryable(err) {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.packs == nil {
		u.packs = map[format.Hash]error{}
	}
	if len(u.packs) < maxUnread {
		u.packs[pack] = err
	}
	return true
}
