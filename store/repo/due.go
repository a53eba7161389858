package repo

import (
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// due is one object of one vault whose lock has to be looked at.
type due struct {
	vault int       // its number among the keepers
	until time.Time // what is known of its lock; zero: nothing
	need  time.Time // how long it has to hold
	name  string
	size  int64 // -1: not known
}

// dueList holds objects in order of expiry, in the local cache and not in memory: what runs out first is lengthened first,
// so that a renewal which is broken off has done what was most urgent.
type dueList struct {
	cache *cache.Cache
	name  string
	c     *cache.Counter // nil as long as nothing was added
	n     int64
}

// Keys are both times as digits that sort like the times, the vault, and the name.
const dueHead = 16 + 16 + 4

func (l *dueList) add(d due) (err error) {
	if l.c == nil {
		if l.c, err = l.cache.Counter(l.name); err != nil {
			return err
		}
	}
	l.n++
	key := fmt.Sprintf("%016x%016x%04x%s", max(d.until.Unix(), 0), max(d.need.Unix(), 0), d.vault, d.name)
	return l.c.Add(key, d.size)
}

// all gives what was added, what runs out first coming first.
func (l *dueList) all() iter.Seq2[due, error] {
	return func(yield func(due, error) bool) {
		if l.c == nil {
			return
		}
		for item, err := range l.c.All() {
			if err != nil {
				yield(due{}, err)
				return
			}
			d, err := parseDue(item)
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

func parseDue(item cache.Item) (due, error) {
	d := due{size: item.Sum}
	bad := fmt.Errorf("%w: an object in a list of renewals", cache.ErrCorrupt)
	if len(item.Key) < dueHead {
		return d, bad
	}
	until, err1 := strconv.ParseInt(item.Key[:16], 16, 64)
	need, err2 := strconv.ParseInt(item.Key[16:32], 16, 64)
	vault, err3 := strconv.ParseUint(item.Key[32:36], 16, 16)
	if err1 != nil || err2 != nil || err3 != nil {
		return d, bad
	}
	d.until, d.need, d.vault, d.name = time.Unix(until, 0).UTC(), time.Unix(need, 0).UTC(), int(vault), item.Key[dueHead:]
	return d, nil
}

func (l *dueList) close() error {
	if l.c == nil {
		return nil
	}
	return l.c.Close()
}
