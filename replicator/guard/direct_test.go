package guard_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// direct tells a guard of a world what the engine would, without the engine: nothing is stored. It costs a fifth, so that what fails
// rarely can be looked for in many rounds: HOLDFAST_GUARD_DIRECT=1. TestJudgedWithoutTheEngine holds it against the engine.
type direct struct {
	w      *world
	state  []byte
	was    map[string]*format.Entry
	at     map[string]before
	have   map[format.Hash]bool
	zstd   *zstd.Encoder
	later  bool // there was a run before
	forget bool // the last run gave an alarm, which was acknowledged
}

// before is a file as it was at the last run.
type before struct {
	*file
	marker bool
}

func newDirect() *direct {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return &direct{was: map[string]*format.Entry{}, at: map[string]before{}, have: map[format.Hash]bool{}, zstd: z}
}

func (d *direct) fork(_ *testing.T, w *world) watcher {
	out := newDirect()
	out.state, out.later, out.forget = slices.Clone(d.state), d.later, d.forget
	out.was, out.have = maps.Clone(d.was), maps.Clone(d.have)
	for n, f := range d.at {
		if is := w.files[n]; is != nil && is.modified.Equal(f.modified) { // forks are of files that nobody touched yet
			out.at[n] = before{is, f.marker}
		}
	}
	return out
}

// entry is one of the listing, as yet without its content.
func entryOf(n string, f *file) *format.Entry {
	e := &format.Entry{Kind: format.KindObject, Key: n, Modified: format.At(f.modified), Size: int64(len(f.body))}
	if f.locked {
		e.Missing = "encrypted with a customer's key (SSE-C)"
	}
	return e
}

func (d *direct) run(_ *testing.T, w *world, wires map[string]format.Hash) (found []guard.Finding, emptied bool) {
	d.w = w
	g := guard.New(guard.Options{Now: w.now, First: !d.later, State: d.state, Tripwires: wires, Forgiven: d.forget})
	var t guard.Totals
	is := map[string]*format.Entry{}
	var read []*format.Entry
	all := maps.Clone(w.files)
	for n := range d.was {
		all[n] = w.files[n]
	}
	for _, n := range slices.Sorted(maps.Keys(all)) {
		f, old := all[n], d.was[n]
		if f == nil {
			t.Deleted++
			g.Gone(old)
			continue
		}
		e := entryOf(n, f)
		is[n] = e
		t.Entries, t.Bytes = t.Entries+1, t.Bytes+e.Size
		g.Listed(e)
		switch {
		case f.marker && (old == nil || d.at[n].marker):
		case f.marker:
			is[n] = old
			t.Added++
			g.Added(&format.Entry{Kind: format.KindMarker, Key: n}, old.Modified.Time)
		case old == nil:
			t.Added++
			g.Added(e, time.Time{})
			read = append(read, e)
		case d.at[n].file == f && (old.Missing != "") == f.locked:
			is[n] = old
		default:
			t.Changed++
			read = append(read, e)
		}
	}
	d.readAll(g, &t, read)
	d.was, d.at = is, map[string]before{}
	for n, f := range w.files {
		d.at[n] = before{f, f.marker}
	}
	d.later = true
	if len(w.files) == 0 {
		return nil, true // the engine asks no guard then
	}
	v := g.Judge(t, false)
	d.state, d.forget = g.State(), v.Alarm
	if v.Alarm {
		found = v.Findings
	}
	return found, false
}

func (d *direct) readAll(g *guard.Watch, t *guard.Totals, read []*format.Entry) {
	var whole []*format.Entry
	for _, e := range read {
		old := d.was[e.Key]
		if e.Missing != "" {
			g.Read(old, e, nil)
			continue
		}
		whole = append(whole, e)
		body := d.w.files[e.Key].body
		e.SHA256 = sumOf(body)
		e.Chunks = []format.Chunk{{Size: e.Size}}
		var b guard.Bytes
		for at := 0; at == 0 || at < len(body); at += 1 << 20 {
			b.Pass(body[at:min(at+1<<20, len(body))])
		}
		if !d.have[e.SHA256] {
			d.have[e.SHA256] = true
			fresh := e.Size
			if old != nil && old.Size > 1<<20 && bytes.HasSuffix(body, d.at[e.Key].body) { // it grew at its front: most chunks are found
				fresh = min(fresh, e.Size-old.Size+512<<10)
			}
			b.Fresh(fresh)
			t.Fresh += fresh
		}
		g.Read(old, e, &b)
	}
	d.frames(whole)
}

// frames gives entries the frames that they share with their neighbours.
func (d *direct) frames(list []*format.Entry) {
	var group []*format.Entry
	var plain []byte
	flush := func() {
		f := format.Frame{Plain: int64(len(plain))}
		f.Length = min(f.Plain, int64(len(d.zstd.EncodeAll(plain, nil))))
		for _, e := range group {
			e.Chunks[0].Frame = f
		}
		group, plain = nil, nil
	}
	for _, e := range list {
		body := d.w.files[e.Key].body
		if len(body) > 1<<20 { // cut into chunks of frames of their own, which are alike
			body = body[:256<<10]
		}
		if len(plain) > 0 && len(plain)+len(body) > 1<<20 {
			flush()
		}
		group, plain = append(group, e), append(plain, body...)
	}
	flush()
}

// TestJudgedWithoutTheEngine: where the engine gives an alarm, so does what is measured without it, and nowhere else.
func TestJudgedWithoutTheEngine(t *testing.T) {
	seed := seeds(t)
	ran := func(by func(t *testing.T, w *world) watcher, h history) string {
		w := newWorld(t, seed)
		w.settle(300)
		r := &replay{t: t, w: w, by: by(t, w)}
		r.by.run(t, w, nil)
		out := r.play(h, outcome{first: -1}, 1, false)
		t.Log(out.alarms)
		return fmt.Sprint(out.first, out.early, len(out.alarms)) // which numbers stand beside hangs on which frames were shared
	}
	for _, h := range attacks() {
		if h.slow {
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			want := ran(func(t *testing.T, w *world) watcher { return newEngine(t, w, h.versions) }, h)
			if got := ran(func(*testing.T, *world) watcher { return newDirect() }, h); got != want {
				t.Errorf("%s, and with the engine %s", got, want)
			}
		})
	}
}
