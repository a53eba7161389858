package guard

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestNames(t *testing.T) {
	for key, want := range map[string]string{
		"a/b.TXT": "txt", "a/b": "", "a/.profile": "", "a.b/c": "", "x.tar.gz": "gz", "a/b.": "", "a/b." + strings.Repeat("x", 17): "", "a/b.c/d.e": "e",
	} {
		if got := extension(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	for _, c := range []struct {
		was, is string
		want    bool
	}{
		{"a/x.doc", "a/x.doc.locked", true}, {"a/x.doc", "a/x.enc", true}, {"a/x.doc", "a/x.doc", false}, {"a/x", "a/xy/z", false},
		{"a/x.doc", "a/y.doc", false}, {"a/x", "a/x.enc", true}, {"a/x.doc", "a/x", false}, {"a/x.doc", "a/x.doc" + strings.Repeat("y", maxSuffix+1), false},
	} {
		if got := renamed(c.was, c.is); got != c.want {
			t.Errorf("%s to %s: %v", c.was, c.is, got)
		}
	}
	for suffix, want := range map[string]bool{".1": true, "-20261130": true, ".2026-11-30.gz": true, ".locked": false, ".v1": false, "": true} {
		if dated(suffix) != want {
			t.Errorf("%q: %v", suffix, !want)
		}
	}
	for key, want := range map[string][2]string{"a": {"", ""}, "a/b": {"a/", "a/"}, "a/b/c": {"a/", "a/b/"}, "a/b/c/d": {"a/", "a/b/"}} {
		if one, two := prefixes(key); one != want[0] || two != want[1] {
			t.Errorf("%s: %q %q", key, one, two)
		}
	}
}

// What went and what came find each other, whichever stands first, and each once.
func TestWindow(t *testing.T) {
	var w window
	if w.went(passing{key: "a/x.doc"}) != "" || w.came("a/x.doc.locked") == nil || w.came("a/x.doc.other") != nil {
		t.Error("behind")
	}
	if w.came("a/y.avif") != nil || w.went(passing{key: "a/y.jpeg"}) != "a/y.avif" || w.went(passing{key: "a/y.png"}) == "a/y.avif" {
		t.Error("before")
	}
	for i := range 200 {
		w.went(passing{key: fmt.Sprint("b/", i)})
	}
	if w.came("a/y.png.x") != nil {
		t.Error("the window has no end")
	}
}

func TestNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 64<<10)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	text := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog 0123456789\n", 1200))[:len(random)]
	half := bytes.Clone(text)
	for at := 0; at < len(half); at += 8192 {
		copy(half[at:at+4096], random[at:])
	}
	for name, c := range map[string]struct {
		b        []byte
		min, max float64
	}{"random": {random, 1, 1}, "text": {text, 0, 0}, "half": {half, 0.3, 0.7}, "little": {random[:100], 0, 0}} {
		var b Bytes
		b.Pass(c.b)
		if n := b.noise(); n < c.min || n > c.max {
			t.Errorf("%s: %.2f", name, n)
		}
	}
	var none *Bytes
	if none.noise() != 0 || none.told() || none.form("jpg") != unknown || none.packed() {
		t.Error("nothing says something")
	}
	var gz Bytes
	gz.Pass(append([]byte("\x1f\x8b"), random...))
	if !gz.packed() || gz.form("gz") != fits || gz.form("jpg") != broken || gz.form("txt") != unknown {
		t.Error("forms")
	}
}

// Ages keep their order, and a clearing out of what is old is told from one that takes everything.
func TestAges(t *testing.T) {
	last := uint8(0)
	for d := time.Second; d < 200*365*24*time.Hour; d += d/8 + time.Second {
		if s := stepOf(d); s < last {
			t.Fatalf("%s: %d behind %d", d, s, last)
		} else {
			last = s
		}
	}
	if stepOf(-time.Hour) != 0 {
		t.Error("what is to come is not young")
	}
	var stays, oldest, any ages
	for day := 1; day <= 400; day++ {
		s := stepOf(time.Duration(day) * 24 * time.Hour)
		if day > 300 {
			oldest[s]++
		} else {
			stays[s]++
		}
		any[s]++
	}
	if !old(&oldest, &stays) || old(&any, &stays) || old(&any, &any) {
		t.Error("clearing out is not told from harm")
	}
}

// Two samples of the same numbers hold the same of them.
func TestSample(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var a, b sample[int]
	for i := range 10 * maxSample {
		n := rnd.Uint64()
		a.put(n, i)
		if i%2 == 0 {
			b.put(n, i)
		}
	}
	if len(a.of) > maxSample || len(b.of) > maxSample {
		t.Fatal("it is not bounded")
	}
	both := 0
	for n := range a.of {
		if _, ok := b.of[n]; ok {
			both++
		}
	}
	if share := float64(both) / float64(len(a.of)); share < 0.45 || share > 0.55 {
		t.Errorf("%.2f of one is in the other", share)
	}
	if s := a.scale(); s < 10 || s > 25 {
		t.Errorf("scale %.1f", s)
	}
}

// Amounts say nothing below 14 runs, know weekdays after four weeks, and are not led by runs with an alarm.
func TestAmounts(t *testing.T) {
	start := time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC)
	runs := func(n int, deleted func(day int) int64) (out []Amounts) {
		for i := range n {
			out = append(out, Amounts{At: start.AddDate(0, 0, i), Added: 10, Changed: 20, Deleted: deleted(i), Bytes: -1})
		}
		return out
	}
	few := func(int) int64 { return 5 }
	sundays := func(i int) int64 {
		if i%7 == 6 {
			return 300
		}
		return 5
	}
	for name, c := range map[string]struct {
		runs []Amounts
		now  int64
		want int
	}{
		"too few":         {runs(13, few), 500, 0},
		"far more":        {runs(14, few), 500, 1},
		"as usual":        {runs(20, few), 9, 0},
		"below the floor": {runs(20, few), 29, 0},
		"a first Sunday":  {runs(20, few), 300, 1},
		"a fifth Sunday":  {runs(34, sundays), 320, 0},
		"all alarms": {func() []Amounts {
			r := runs(20, few)
			for i := range r {
				r[i].Alarm = true
			}
			return r
		}(), 500, 0},
	} {
		at := start.AddDate(0, 0, len(c.runs))
		got := unusualAmounts(c.runs, Amounts{At: at, Added: 10, Changed: 20, Deleted: c.now}, Totals{Entries: 900})
		if len(got) != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What the cache holds may be anything.
func TestStateIsNotBelieved(t *testing.T) {
	for _, b := range []string{"", "x", "null", `{"v":2,"runs":[{"a":1}]}`, `{"v":1,"kinds":{"txt":null},"runs":[{}]}`} {
		w := New(Options{State: []byte(b), Now: time.Unix(1e9, 0)})
		e := &format.Entry{Key: "a/b.txt", Size: 3, SHA256: format.Hash{1}}
		var p Bytes
		p.Pass([]byte("abc"))
		w.Listed(e)
		w.Added(e, time.Time{})
		w.Read(nil, e, &p)
		if v := w.Judge(Totals{Entries: 1, Added: 1}, false); v.Alarm || len(w.State()) == 0 {
			t.Errorf("%q: %+v", b, v)
		}
	}
}

// Tripwires are the same in every run, others with every key and source, and none looks like another's.
func TestWires(t *testing.T) {
	a, b := Wires([32]byte{1}, "site"), Wires([32]byte{1}, "site")
	seen := map[string]bool{}
	for i := range a {
		if a[i].Key != b[i].Key || !bytes.Equal(a[i].Body, b[i].Body) || len(a[i].Body) < 1000 {
			t.Errorf("%+v", a[i].Key)
		}
	}
	for _, all := range [][]Wire{a, Wires([32]byte{2}, "site"), Wires([32]byte{1}, "other")} {
		for _, w := range all {
			if seen[w.Key] {
				t.Errorf("%s twice", w.Key)
			}
			seen[w.Key] = true
		}
	}
	if len(Expected(a)) != wires {
		t.Error(Expected(a))
	}
}

// The settings of a bucket are learnt at first, and a change for the worse is an alarm until it is acknowledged.
func TestBucketAndKeys(t *testing.T) {
	var state []byte
	run := func(s Settings, keys map[string]int64, o Options) Verdict {
		t.Helper()
		o.State, o.Now = state, time.Unix(1e9, 0)
		w := New(o)
		w.Bucket(s)
		w.Keys(keys)
		v := w.Judge(Totals{Entries: 100}, false)
		state = w.State()
		return v
	}
	fine := Settings{Versioning: "Enabled", Expires: []string{"an old rule"}}
	bad := Settings{Versioning: "Suspended", Expires: []string{"a new rule", "an old rule"}}
	if v := run(fine, map[string]int64{"k1": 50}, Options{First: true}); v.Alarm {
		t.Errorf("%+v", v)
	}
	if v := run(fine, map[string]int64{"k1": 50}, Options{}); v.Alarm || len(v.Findings) > 0 {
		t.Errorf("%+v", v)
	}
	for i := range 3 { // it stays, and is said to stay
		if v := run(bad, nil, Options{}); !v.Alarm || len(v.Findings) != 2 || v.Findings[0].Rule != Bucket || v.Findings[0].Again != (i > 0) || v.Findings[1].Again != (i > 0) {
			t.Errorf("%+v", v)
		}
	}
	worse := Settings{Versioning: "Suspended", Expires: []string{"a new rule", "an old rule", "another rule"}}
	if v := run(worse, nil, Options{}); len(v.Findings) != 3 || !v.Findings[1].Again || v.Findings[2].Again {
		t.Errorf("%+v", v)
	}
	if v := run(bad, nil, Options{Forgiven: true}); v.Alarm {
		t.Errorf("%+v", v)
	}
	if v := run(bad, nil, Options{}); v.Alarm {
		t.Errorf("%+v", v)
	}
	if v := run(bad, map[string]int64{"k2": 50}, Options{}); v.Alarm || len(v.Findings) != 1 { // a signal
		t.Errorf("%+v", v)
	}
	if v := run(bad, map[string]int64{"arn:aws:kms:r:1:key/k1": 5}, Options{KMSKeys: []string{"k1"}}); v.Alarm {
		t.Errorf("%+v", v)
	}
	if v := run(bad, map[string]int64{"k2": 1}, Options{KMSKeys: []string{"k1"}}); !v.Alarm {
		t.Errorf("%+v", v)
	}
	w := New(Options{State: state})
	if d := w.Bucket(Settings{Denied: []string{"x"}}); len(d) != 1 {
		t.Error(d)
	}
}

// TestTripwires: whatever was done to one is told, and what its owner's tools do to all is not.
func TestTripwires(t *testing.T) {
	at := time.Unix(1e9, 0)
	want := format.Hash{7}
	entry := func(change func(e *format.Entry)) *format.Entry {
		e := &format.Entry{
			Kind: format.KindObject, Key: "payroll.csv", Size: 9, Modified: format.At(at), SHA256: want, ContentType: "text/csv", Tags: map[string]string{"a": "b"}, TagsRead: 5,
			Metadata: map[string]string{"by": "ann"},
		}
		if change != nil {
			change(e)
		}
		return e
	}
	for name, c := range map[string]struct {
		change func(e *format.Entry)
		old    func(e *format.Entry) // of the last point
		tells  bool
	}{
		"other bytes":           {change: func(e *format.Entry) { e.SHA256 = format.Hash{8} }, tells: true},
		"cannot be read":        {change: func(e *format.Entry) { e.Missing, e.SHA256 = "SSE-C", format.Hash{} }, tells: true},
		"the same bytes":        {change: func(e *format.Entry) { e.Modified = format.At(at.Add(time.Second)) }, tells: true},
		"other metadata":        {change: func(e *format.Entry) { e.Metadata = map[string]string{"by": "eve"} }, tells: true},
		"no metadata":           {change: func(e *format.Entry) { e.Metadata = nil }, tells: true},
		"another type":          {change: func(e *format.Entry) { e.ContentType = "text/html" }, tells: true},
		"other tags":            {change: func(e *format.Entry) { e.Tags = map[string]string{"a": "c"} }, tells: true},
		"looked at again":       {},
		"tags are not read":     {change: func(e *format.Entry) { e.Tags, e.TagsRead = nil, 0 }},
		"tags for once":         {old: func(e *format.Entry) { e.Tags, e.TagsRead = nil, 0 }},
		"another storage class": {change: func(e *format.Entry) { e.StorageClass = "STANDARD_IA" }},
		"a file's mode":         {change: func(e *format.Entry) { e.File = &format.File{Mode: 0o600} }},
		"it is put right":       {old: func(e *format.Entry) { e.SHA256 = format.Hash{8} }, change: func(e *format.Entry) { e.Modified = format.At(at.Add(time.Hour)) }},
		"it was wrong before":   {old: func(e *format.Entry) { e.SHA256 = format.Hash{8} }, change: func(e *format.Entry) { e.SHA256 = format.Hash{8} }},
		"wrong in another way":  {old: func(e *format.Entry) { e.SHA256 = format.Hash{9} }, change: func(e *format.Entry) { e.SHA256 = format.Hash{8} }, tells: true},
		"it was not readable":   {old: func(e *format.Entry) { e.Missing, e.SHA256 = "denied", format.Hash{} }},
		"beside it":             {change: func(e *format.Entry) { e.Key, e.SHA256 = "old/payroll.csv", format.Hash{8} }},
	} {
		w := New(Options{Tripwires: map[string]format.Hash{"payroll.csv": want}, Now: at})
		e := entry(c.change)
		w.Listed(e)
		w.Read(entry(c.old), e, nil)
		if v := w.Judge(Totals{Entries: 10}, false); v.Alarm != c.tells {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for name, c := range map[string]struct {
		kind  format.Kind
		hides time.Time
		first bool
		tells bool
	}{
		"planted": {kind: format.KindObject}, "a version over it": {kind: format.KindObject, hides: at, tells: true}, "versions at first": {kind: format.KindObject, hides: at, first: true},
		"a marker": {kind: format.KindMarker, hides: at, tells: true}, "a marker at first": {kind: format.KindMarker, hides: at, first: true},
	} {
		w := New(Options{Tripwires: map[string]format.Hash{"payroll.csv": want}, Now: at, First: c.first})
		e := entry(func(e *format.Entry) { e.Kind = c.kind })
		w.Added(e, c.hides)
		w.Read(nil, e, nil)
		if v := w.Judge(Totals{Entries: 10}, false); v.Alarm != c.tells {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
