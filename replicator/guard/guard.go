// Package guard looks at what a run sees of a source and says whether somebody has to look at it: a tripwire that was
// touched, content that turned into noise, names that got a suffix, much that is gone, amounts as never before.
//
// It is told of each entry that is listed, gone or read, and of the plain bytes as they pass. Nothing is read for it, and
// nothing old is decrypted: how well earlier content compressed stands in the last point's manifest, and what is usual in a
// small state that the caller keeps. A rule that is next to never wrong makes an alarm by itself (Finding.Hard); of the others
// it takes two. docs/guard.md says what is seen, what is not, and how often it is wrong.
//
// The package must never read, write or print anything, never keep more than a bounded number of names, and never make a run
// fail: it is told facts and gives an opinion.
package guard

import (
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options begin a Watch.
type Options struct {
	Now       time.Time              // when the source was frozen, by the vault's clock
	First     bool                   // there is no earlier point: everything is new, and is learnt from
	State     []byte                 // what the last run left; nil: nothing is known
	Earlier   []Amounts              // of earlier points, the oldest first: used where the state knows of none
	Tripwires map[string]format.Hash // by key: the SHA-256 of what a tripwire holds
	KMSKeys   []string               // keys of the vendor's key management that are the owner's; none: those that were seen before
	Forgiven  bool                   // what was seen up to now was acknowledged
}

// Watch is what is kept in mind of one run over one source. Listed, Added, Gone and Moved belong to the goroutine that
// compares listings, Read to the one that has the entries as they were read. Judge comes when both are done.
type Watch struct {
	o       Options
	state   state
	listing listing
	content content
	bucket  *Settings        // nil: there is none, or nobody could ask
	used    map[string]int64 // keys of the vendor's key management
	fleet   *Fleet           // nil: there is none, or nobody could ask
	passing []uint64
	passed  int64 // of those of the last run that are gone
}

// New begins to watch a run. A state that cannot be read is none.
func New(o Options) *Watch {
	w := &Watch{o: o, state: readState(o.State)}
	if len(w.state.Runs) == 0 {
		w.state.Runs = o.Earlier[max(0, len(o.Earlier)-maxRuns):]
	}
	if o.Forgiven {
		w.state.forgive()
	}
	num := numbers{maphash.MakeSeed()}
	w.listing.begin(o.Now, num)
	w.content.begin(num)
	return w
}

// Listed is told of each entry of the listing, in order.
func (w *Watch) Listed(e *format.Entry) {
	if holds(e) {
		w.listing.listed(e)
	}
}

// Added is told of each listed entry that the last point has not. hides is when the version was made that it lies upon; zero: upon none.
func (w *Watch) Added(e *format.Entry, hides time.Time) {
	switch {
	case e.Kind == format.KindMarker:
		if w.wire(e.Key) && !w.o.First {
			w.listing.touched.add(e.Key)
		}
		w.listing.gone(e.Key, hides, format.Hash{}, 0)
		w.listing.markers++
	case holds(e):
		if w.wire(e.Key) && !w.o.First && !hides.IsZero() { // another version of it, whatever it holds
			w.listing.touched.add(e.Key)
		}
		w.listing.added(e)
	}
}

// Passing is told, instead of Listed, of entries that come and go by themselves, such as machines of a scaling group: that they are gone
// is no loss. Nothing else is told of them.
func (w *Watch) Passing(e *format.Entry) {
	if len(w.passing) < maxPassing {
		w.passing = append(w.passing, numberOf(e.Key))
	}
}

const maxPassing = 1 << 14

// learnPassing is for the next run, which sees of what is gone by then only the key.
func (w *Watch) learnPassing() {
	slices.Sort(w.passing)
	w.state.Passing = w.passing
}

// Gone is told of each entry of the last point that is there no more.
func (w *Watch) Gone(old *format.Entry) {
	if !holds(old) {
		return
	}
	if len(w.state.Passing) > 0 {
		if _, ok := slices.BinarySearch(w.state.Passing, numberOf(old.Key)); ok {
			w.passed++
			return
		}
	}
	if w.wire(old.Key) {
		w.listing.touched.add(old.Key)
	}
	w.listing.gone(old.Key, old.Modified.Time, old.SHA256, old.Size)
}

// Moved is told of each entry that is as it was, but in another storage class.
func (w *Watch) Moved(*format.Entry) { w.listing.classes++ }

// Read is told of each entry that was read, or could not be; old is the last point's, nil if it has none. b is what was seen
// of its bytes; nil where none passed.
func (w *Watch) Read(old, e *format.Entry, b *Bytes) {
	if !holds(e) {
		return
	}
	if want, ok := w.o.Tripwires[e.Key]; ok && tripped(old, e, want) {
		w.content.touched.add(e.Key)
	}
	w.content.read(&w.state, old, e, b)
}

// tripped reports whether a tripwire is not what was planted, or was written again with the same bytes. One that was wrong before, or is
// put right, is not: what made it wrong was told.
func tripped(old, e *format.Entry, want format.Hash) bool {
	if e.SHA256 != want {
		return old == nil && e.Missing == "" || old != nil && (old.SHA256 != e.SHA256 || old.SHA256.IsZero() && old.Missing != e.Missing)
	}
	return old != nil && old.SHA256 == want && (!old.Modified.Equal(e.Modified.Time) || old.ContentType != e.ContentType ||
		!maps.Equal(old.Metadata, e.Metadata) || old.TagsRead > 0 && e.TagsRead > 0 && !maps.Equal(old.Tags, e.Tags))
}

func (w *Watch) wire(key string) bool {
	_, ok := w.o.Tripwires[key]
	return ok
}

// holds reports whether an entry is one of content.
func holds(e *format.Entry) bool {
	return e.Kind == format.KindObject || e.Kind == format.KindFile
}

// State is what the next run is to be told. It is small, holds extensions and counts, and no names.
func (w *Watch) State() []byte { return w.state.bytes() }

// examples are the first few keys of something.
type examples struct {
	n    int64
	keys []string
}

const maxExamples = 5

func (x *examples) add(key string) {
	x.n++
	if len(x.keys) < maxExamples {
		x.keys = append(x.keys, key)
	}
}
