package against

import (
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// list is one of two lists that are gone through side by side.
type list struct {
	next func() (*format.Entry, error, bool)
	head *format.Entry
	err  error
	has  bool // head or err is the next
}

func side(seq iter.Seq2[*format.Entry, error]) (*list, func()) {
	next, stop := iter.Pull2(seq)
	return &list{next: next}, stop
}

// peek gives the next entry without taking it; nil at the end.
func (l *list) peek() (*format.Entry, error) {
	if !l.has {
		l.head, l.err, _ = l.next()
		l.has = true
	}
	return l.head, l.err
}

// take takes all entries of a key that come next: the versions of one object.
func (l *list) take(key string) (out []*format.Entry, err error) {
	for {
		e, err := l.peek()
		if err != nil || e == nil || e.Key != key {
			return out, err
		}
		out = append(out, e)
		l.has = false
	}
}
