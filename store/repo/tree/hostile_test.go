package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// crib holds pages that no honest writer made.
type crib map[format.Hash][]byte

func (c crib) load(_ context.Context, ref format.PageRef) ([]byte, error) { return c[ref.Sum], nil }

var anObject = format.MetaName(sha256.Sum256([]byte("an object")))

// put stores a page and gives a reference that claims what ref does.
func (c crib) put(ref format.PageRef, page []byte) format.PageRef {
	ref.Sum = sha256.Sum256(page)
	ref.Object, ref.Frame = anObject, format.Frame{Length: 1, Plain: max(1, int64(len(page)))}
	c[ref.Sum] = page
	return ref
}

// saltLine begins the roots that tests make by hand.
const saltLine = `{"salt":"00112233445566778899aabbccddeeff"}` + "\n"

// rooted makes a page the root of a manifest.
func (c crib) rooted(ref format.PageRef) format.PageRef {
	if ref.Level == 0 {
		return ref
	}
	return c.put(ref, append([]byte(saltLine), c[ref.Sum]...))
}

func lines(t testing.TB, entries ...*format.Entry) []byte {
	t.Helper()
	var b []byte
	for _, e := range entries {
		var err error
		if b, err = e.AppendLine(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func refs(t testing.TB, in ...format.PageRef) []byte {
	t.Helper()
	var b []byte
	for _, r := range in {
		var err error
		if b, err = r.AppendLine(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestHostilePages(t *testing.T) {
	c := crib{}
	a := c.put(format.PageRef{First: "a", Entries: 2, Bytes: 2}, lines(t, entry("a", 1), entry("b", 1)))
	d := c.put(format.PageRef{First: "d", Entries: 1, Bytes: 1}, lines(t, entry("d", 1)))
	inner := func(claim format.PageRef, children ...format.PageRef) format.PageRef {
		return c.put(claim, refs(t, children...))
	}
	good := format.PageRef{Level: 1, First: "a", Entries: 3, Bytes: 3}
	with := func(f func(*format.PageRef)) format.PageRef { r := good; f(&r); return r }
	long := make([]byte, 0, format.MaxPageLines*300)
	for range format.MaxPageLines + 1 {
		long = append(long, refs(t, a)...)
	}
	wrong := a
	wrong.Sum[0]++
	c[wrong.Sum] = c[a.Sum]

	if err := walk(c, inner(good, a, d)); err != nil {
		t.Fatalf("the honest tree: %v", err)
	}
	for name, root := range map[string]format.PageRef{
		"a leaf two levels down":            inner(with(func(r *format.PageRef) { r.Level = 2 }), a, d),
		"an inner page of the same level":   inner(good, inner(good, a, d)),
		"unsorted references":               inner(with(func(r *format.PageRef) { r.First = "d" }), d, a),
		"another first key":                 inner(with(func(r *format.PageRef) { r.First = "0" }), a, d),
		"more entries promised":             inner(with(func(r *format.PageRef) { r.Entries = 4 }), a, d),
		"more bytes promised":               inner(with(func(r *format.PageRef) { r.Bytes = 4 }), a, d),
		"missing entries hidden":            inner(with(func(r *format.PageRef) { r.Missing = 1 }), a, d),
		"no references":                     c.put(good, []byte("")),
		"too many references":               c.put(good, long),
		"half a line":                       c.put(good, refs(t, a, d)[:40]),
		"an empty line":                     c.put(good, []byte("\n")),
		"not JSON":                          c.put(good, []byte("hello\n")),
		"another page's bytes":              wrong,
		"a leaf with fewer entries":         c.put(format.PageRef{First: "a", Entries: 3}, lines(t, entry("a", 1), entry("b", 1))),
		"a leaf with more entries":          c.put(format.PageRef{First: "a", Entries: 1}, lines(t, entry("a", 1), entry("b", 1))),
		"an unsorted leaf":                  c.put(format.PageRef{First: "a", Entries: 3}, lines(t, entry("a", 1), entry("c", 1), entry("b", 1))),
		"a leaf with another first key":     c.put(format.PageRef{First: "a", Entries: 1}, lines(t, entry("b", 1))),
		"a leaf that reaches into the next": inner(format.PageRef{Level: 1, First: "a", Entries: 3, Bytes: 3}, c.put(format.PageRef{First: "a", Entries: 2, Bytes: 2}, lines(t, entry("a", 1), entry("z", 1))), d),
		"counts that wrap": inner(format.PageRef{Level: 2, First: "a", Entries: 2},
			format.PageRef{Level: 1, First: "a", Entries: 1<<63 - 1, Sum: a.Sum, Object: anObject, Frame: a.Frame},
			format.PageRef{Level: 1, First: "b", Entries: 1<<63 - 1, Sum: a.Sum, Object: anObject, Frame: a.Frame},
			format.PageRef{Level: 1, First: "c", Entries: 4, Sum: a.Sum, Object: anObject, Frame: a.Frame}),
	} {
		t.Run(name, func(t *testing.T) {
			err := walk(c, root)
			if !errors.Is(err, format.ErrMalformed) && !errors.Is(err, format.ErrBounds) {
				t.Errorf("Entries: %v", err)
			}
			if err := walkCursor(c, root); !errors.Is(err, format.ErrMalformed) && !errors.Is(err, format.ErrBounds) {
				t.Errorf("Cursor: %v", err)
			}
		})
	}
}

func walk(c crib, root format.PageRef) error {
	for _, err := range Entries(context.Background(), c.load, c.rooted(root), "", "") {
		if err != nil {
			return err
		}
	}
	return nil
}

func walkCursor(c crib, root format.PageRef) error {
	root = c.rooted(root)
	cur := NewCursor(context.Background(), c.load, &root, nil, nil, nil)
	defer cur.Close()
	for {
		e, err := cur.Peek()
		if e == nil || err != nil {
			return err
		}
		cur.Take()
	}
}

// A tree cannot loop: every level counts down, so that even a load which answers every reference with the same page
// comes to an end. (Hashes forbid it anyway.)
func TestNoLoops(t *testing.T) {
	c := crib{}
	leaf := c.put(format.PageRef{First: "a", Entries: 1, Bytes: 1}, lines(t, entry("a", 1)))
	page := refs(t, format.PageRef{Level: 1, First: "a", Entries: 1, Bytes: 1, Sum: leaf.Sum, Object: anObject, Frame: leaf.Frame})
	root := c.put(format.PageRef{Level: format.MaxLevel, First: "a", Entries: 1, Bytes: 1}, page)
	loads := 0
	for _, err := range Leaves(context.Background(), func(context.Context, format.PageRef) ([]byte, error) {
		loads++
		return page, nil
	}, root, "", nil) {
		if err == nil {
			t.Error("a leaf was found")
		}
	}
	if loads > format.MaxLevel+1 {
		t.Errorf("%d loads", loads)
	}
}

func TestNeeds(t *testing.T) {
	c := crib{}
	page := func(ns ...format.Need) []byte {
		var b []byte
		for _, n := range ns {
			var err error
			if b, err = n.AppendLine(b); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	need := func(i int) format.Need {
		h := format.Hash{0: byte(i)}
		return format.Need{Name: format.PackName(h), Size: 10, Living: 5}
	}
	leaf := func(first int, count int64, ns ...format.Need) format.PageRef {
		return c.put(format.PageRef{First: need(first).Name, Entries: count, Bytes: 10 * count}, page(ns...))
	}
	root := func(a, b format.PageRef) format.PageRef {
		r := c.put(format.PageRef{Level: 1, First: a.First, Entries: a.Entries + b.Entries, Bytes: a.Bytes + b.Bytes}, refs(t, a, b))
		r.Object = format.NeedsName(format.Hash{1}) // a plain tree
		return r
	}
	good := root(leaf(1, 2, need(1), need(2)), leaf(5, 1, need(5)))
	var names []string
	visited := 0
	for n, err := range Needs(context.Background(), c.load, good, func(format.PageRef) { visited++ }) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n.Name)
	}
	if len(names) != 3 || visited != 3 {
		t.Errorf("%d names, %d pages visited", len(names), visited)
	}
	for name, r := range map[string]format.PageRef{
		"unsorted in a page":     leaf(2, 2, need(2), need(1)),
		"twice":                  leaf(1, 2, need(1), need(1)),
		"unsorted over pages":    root(leaf(1, 2, need(1), need(9)), leaf(5, 1, need(5))),
		"fewer than promised":    leaf(1, 2, need(1)),
		"more than promised":     leaf(1, 1, need(1), need(2)),
		"another first name":     leaf(1, 1, need(2)),
		"a line that is no need": c.put(format.PageRef{First: "a", Entries: 1}, []byte("{}\n")),
	} {
		t.Run(name, func(t *testing.T) {
			var last error
			for _, err := range Needs(context.Background(), c.load, r, nil) {
				last = err
			}
			if !errors.Is(last, format.ErrMalformed) && !errors.Is(last, format.ErrBounds) {
				t.Errorf("got %v", last)
			}
		})
	}
}

// Inner pages of any bytes are refused or give references that hold together.
func FuzzInner(f *testing.F) {
	c := crib{}
	a := c.put(format.PageRef{First: "a", Entries: 2, Bytes: 2}, []byte("x"))
	var seed []byte
	for i := range 3 {
		a.First = fmt.Sprintf("a%d", i)
		seed, _ = a.AppendLine(seed)
	}
	f.Add(seed, "a0", int64(6), int64(6), 1)
	f.Add(seed, "", int64(6), int64(6), 1) // a commit object leaves out its root's first key
	f.Add([]byte("{}\n"), "", int64(0), int64(0), 1)
	f.Fuzz(func(t *testing.T, page []byte, first string, entries, size int64, level int) {
		parent := format.PageRef{Level: level, First: first, Entries: entries, Bytes: size}
		got, err := parseInner(page, parent)
		if err != nil {
			return
		}
		var sum int64
		var back []byte
		for i, r := range got {
			sum += r.Entries
			if r.Level != level-1 || i > 0 && r.First < got[i-1].First {
				t.Fatalf("child %d: %+v", i, r)
			}
			if back, err = r.AppendLine(back); err != nil {
				t.Fatal(err)
			}
		}
		if sum != entries || first != "" && got[0].First != first || string(back) != string(page) {
			t.Fatalf("%d entries of %d; written again: %q", sum, entries, back)
		}
	})
}
