package tree

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Lost is a stretch of a manifest that cannot be read, since a page that leads to it is lost.
type Lost struct {
	From, To string // keys from here on, and before this one; empty: from the beginning, to the end
	Entries  int64  // how many are lost there
	Found    int64  // how many others were found without the page
	Object   string // where the page was
	Err      error  // about the page
	Leaf     bool   // the page with the entries: the keys it ends with are not known
}

func (l *Lost) Error() string {
	from, to := "the beginning", "the end"
	if l.From != "" {
		from = fmt.Sprintf("%q", clip(l.From))
	}
	if l.Leaf {
		return fmt.Sprintf("a page of the manifest is lost, with %d entries from %s on: %v", l.Entries, from, l.Err)
	}
	if l.To != "" {
		to = fmt.Sprintf("%q", clip(l.To))
	}
	found := ""
	if l.Found > 0 {
		found = fmt.Sprintf(" (%d others were found without it)", l.Found)
	}
	return fmt.Sprintf("the page of the manifest that leads to the keys from %s to %s is lost, and %d entries with it%s: %v", from, to, l.Entries, found, l.Err)
}

// Unwrap gives the cause.
func (l *Lost) Unwrap() error { return l.Err }

// NotNewest says of a key that the last of its versions before this may not be its newest one: pages that lead to others are lost.
type NotNewest struct {
	Key string
	Err error
}

func (n *NotNewest) Error() string {
	return fmt.Sprintf("which version of %q is the newest cannot be told: %v", clip(n.Key), n.Err)
}

// Unwrap gives the cause.
func (n *NotNewest) Unwrap() error { return n.Err }

// ErrSeam stands between pages of which nothing but their keys tells which comes first: some were found without the page that leads to
// them, or are found where another lost page stood. Around goes on behind it.
var ErrSeam = errors.New("a seam between pages that were found")

// clip keeps messages short: keys have up to 64 KiB.
func clip(key string) string {
	const most = 200
	if len(key) > most {
		return key[:most] + ".."
	}
	return key
}

// Find is asked for pages in the place of those below one that cannot be read: ref, whose keys lie before to ("": to the end).
// It gives what it has, in order, and what is lost all the same. An error ends the walk.
type Find func(ctx context.Context, ref format.PageRef, to string, cause error) (below []format.PageRef, lost []*Lost, err error)

// Around is Leaves for keys from <= key < to ("": to the end), with what find has in the place of inner pages that cannot be read. What
// is lost comes as a *Lost where it would stand, and an [ErrSeam] comes in the place of a lost page, before and behind each page that was found; the walk goes on behind them, if
// the caller does.
func Around(ctx context.Context, load Load, root format.PageRef, from, to string, visit func(format.PageRef), find Find) iter.Seq2[format.PageRef, error] {
	return func(yield func(format.PageRef, error) bool) {
		w := walker{ctx: ctx, load: load, from: from, visit: visit, yield: yield}
		w.around = &around{find: find, to: to}
		w.page(root, parseRoot)
	}
}

// Below is Around for what is below a page that is no root, and whose keys lie before end.
func Below(ctx context.Context, load Load, ref format.PageRef, end string, visit func(format.PageRef), find Find) iter.Seq2[format.PageRef, error] {
	return func(yield func(format.PageRef, error) bool) {
		w := walker{ctx: ctx, load: load, visit: visit, yield: yield}
		w.around = &around{find: find, ends: []string{end}}
		w.page(ref, parseInner)
	}
}

// around is what a walk around lost pages needs.
type around struct {
	find Find
	to   string
	ends []string // of the pages on the way down: where the next one beside them begins
}

// end is where the keys of the page at hand end.
func (a *around) end() string {
	if len(a.ends) == 0 {
		return ""
	}
	return a.ends[len(a.ends)-1]
}

// below puts the end of a page below the one at hand on the way; next is the first key of the one beside it, if there is any.
func (a *around) below(next string) {
	if next == "" {
		next = a.end()
	}
	a.ends = append(a.ends, next)
}

func (a *around) up() { a.ends = a.ends[:len(a.ends)-1] }

// mend goes on with what is found in the place of what lies below ref, and reports whether to go on behind that.
func (w *walker) mend(ref format.PageRef, cause error) bool {
	below, lost, err := w.around.find(w.ctx, ref, w.around.end(), cause)
	if err != nil {
		w.yield(format.PageRef{}, err)
		return false
	}
	for i, r := range below {
		for len(lost) > 0 && lost[0].From <= r.First {
			if !w.yield(format.PageRef{}, lost[0]) {
				return false
			}
			lost = lost[1:]
		}
		if w.order.met(r) {
			continue // it is below the page before, too: versions of one key lie on both sides of the cut
		}
		next := ""
		if i+1 < len(below) {
			next = below[i+1].First
		}
		if !w.yield(format.PageRef{}, ErrSeam) {
			return false
		}
		w.around.below(next)
		more := w.page(r, parseInner)
		w.around.up()
		if !more {
			return false
		}
	}
	if !w.yield(format.PageRef{}, ErrSeam) {
		return false
	}
	for _, l := range lost {
		if !w.yield(format.PageRef{}, l) {
			return false
		}
	}
	return true
}

// Described is a page as it describes itself.
type Described struct {
	format.PageRef        // without place, sum and digest
	Last           string // key of its last entry, or first key of the last page it refers to
	FirstVersion   string // of its first entry
}

// Describe reads a manifest's page of a level without a reference to it. Whether it is a page of that level is what its lines tell: an
// error says that it is not.
func Describe(page []byte, level int) (Described, error) {
	d := Described{PageRef: format.PageRef{Level: level}}
	if level > 0 {
		return d, d.inner(page)
	}
	for line, err := range format.PageLines(page) {
		var e *format.Entry
		if err == nil {
			e, err = format.ParseEntry(line)
		}
		if err == nil && (e.Key < d.Last || d.Entries == format.MaxPageLines) {
			err = fmt.Errorf("not a page of entries: %w", format.ErrMalformed)
		}
		if err != nil {
			return d, err
		}
		if d.Entries == 0 {
			d.First, d.FirstVersion = e.Key, e.Version
		}
		d.Entries++
		d.Bytes = format.AddSizes(d.Bytes, e.Size)
		d.Last = e.Key
	}
	if d.Entries == 0 {
		return d, fmt.Errorf("an empty page: %w", format.ErrMalformed)
	}
	return d, nil
}

func (d *Described) inner(page []byte) error {
	for line, err := range format.PageLines(page) {
		var r format.PageRef
		if err == nil {
			r, err = format.ParsePageRef(line)
		}
		if err == nil && (r.Level != d.Level-1 || r.First == "" || r.First < d.Last || r.Entries > math.MaxInt64-d.Entries) {
			err = fmt.Errorf("not a page of level %d: %w", d.Level, format.ErrMalformed)
		}
		if err != nil {
			return err
		}
		if d.Last == "" {
			d.First = r.First
		}
		d.Last = r.First
		d.Entries, d.Bytes, d.Missing = d.Entries+r.Entries, format.AddSizes(d.Bytes, r.Bytes), d.Missing+r.Missing
	}
	if d.Last == "" {
		return fmt.Errorf("an empty page: %w", format.ErrMalformed)
	}
	return nil
}
