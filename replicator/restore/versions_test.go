package restore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// history gives a point with one key of n versions between two others, every third a delete marker.
func history(r *restoretest.Repo, n int) *format.Commit {
	var all []*format.Entry
	all = append(all, restoretest.Object("a", nil))
	for i := range n {
		e := restoretest.Object("many", nil)
		e.Version = fmt.Sprintf("%06d", i)
		if i%3 == 2 {
			e.Kind, e.SHA256 = format.KindMarker, format.Hash{}
		}
		all = append(all, e)
	}
	return r.Point(500, append(all, restoretest.Object("z", nil))...)
}

// versioned is a target that notes which version came when, and is asked about each first.
type versioned struct {
	memory
	mu     sync.Mutex
	accept map[string]int
	looked []string
	last   string // the version of which it was said that it is the last
	put    []string
	answer func(version string) (restore.Verdict, error)
}

func (v *versioned) KeepsVersions() bool { return true }

func (v *versioned) Accept(_ context.Context, all []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	v.accept[all[0].Key]++
	return v, restore.Look, nil
}

func (v *versioned) Look(_ context.Context, e *format.Entry, last bool) (restore.Verdict, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Key != "many" {
		return restore.Take, nil
	}
	v.looked = append(v.looked, e.Version)
	if last {
		v.last += e.Version
	}
	if v.answer != nil {
		return v.answer(e.Version)
	}
	return restore.Take, nil
}

func (v *versioned) Restore(_ context.Context, e *format.Entry, _ restore.Content) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Key == "many" {
		v.put = append(v.put, e.Version)
	}
	return nil
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("%06d", i))
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: %s stands at %d, where %s should", what, got[i], i, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d, want %d", what, len(got), len(want))
	}
}

// However many versions a key has, it is one key: accepted once, asked about and restored in order, the last told as such.
func TestAnyNumberOfVersionsIsOneKey(t *testing.T) {
	r := restoretest.New(t)
	for _, n := range []int{1, 1023, 1024, 1025, 2048, 2049, 3500} {
		c := history(r, n)
		v := &versioned{accept: map[string]int{}}
		res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: v, Memory: 64 << 20})
		if res.Failed != 0 || res.Entries != int64(n)+2 {
			t.Errorf("%d versions: %+v", n, res)
		}
		same(t, "asked about", v.looked, numbers(0, n))
		same(t, "restored", v.put, numbers(0, n))
		if v.accept["many"] != 1 || v.last != fmt.Sprintf("%06d", n-1) {
			t.Errorf("%d versions: accepted %d times; last: %q", n, v.accept["many"], v.last)
		}
	}
}

// A version that the point does not have is missing, and does not end the key; nor is it the last of it.
func TestMissingVersionsDoNotEndAKey(t *testing.T) {
	r := restoretest.New(t)
	var all []*format.Entry
	for i := range 2050 {
		e := restoretest.Object("many", nil)
		e.Version = fmt.Sprintf("%06d", i)
		if i%1025 == 1024 || i == 0 {
			e.Missing, e.SHA256 = "denied", format.Hash{}
		}
		all = append(all, e)
	}
	v := &versioned{accept: map[string]int{}}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: r.Point(500, all...), Target: v})
	if res.Missing != 3 || res.Entries != 2047 {
		t.Errorf("%+v", res)
	}
	same(t, "restored", v.put, append(numbers(1, 1024), numbers(1025, 2049)...))
	if v.accept["many"] != 1 || v.last != "002048" {
		t.Errorf("accepted %d times; last: %q", v.accept["many"], v.last)
	}
}

// What a target answers about a version counts as what it is.
func TestAnswersOfALooker(t *testing.T) {
	r := restoretest.New(t)
	c := history(r, 3000)
	v := &versioned{accept: map[string]int{}, answer: func(version string) (restore.Verdict, error) {
		switch {
		case version < "001000":
			return restore.Skip, nil
		case version == "001000":
			return 0, fmt.Errorf("%w: Content-Type", restore.ErrDiffers)
		case version == "001001":
			return 0, errors.New("out of order")
		}
		return restore.Take, nil
	}}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: v})
	if res.Skipped != 1001 || res.Differs != 1 || res.Failed != 1 || res.Entries != 2000 || len(res.Failures) != 2 ||
		!res.Failures[0].Differs || res.Failures[1].Differs {
		t.Errorf("%+v", res)
	}
	same(t, "restored", v.put, numbers(1002, 3000))

	v = &versioned{accept: map[string]int{}, answer: func(string) (restore.Verdict, error) { return 0, restore.ErrStop }}
	if _, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: v}); !errors.Is(err, restore.ErrStop) || len(v.put) != 0 {
		t.Errorf("%v; %d were restored", err, len(v.put))
	}
}

// A receiver may find out when it has the content that the target has the same.
func TestThereAlreadyIsNoFailure(t *testing.T) {
	r := restoretest.New(t)
	m := &memory{onRestore: func(key string) error {
		if key == "a" {
			return restore.ErrThere
		}
		return fmt.Errorf("%w: content", restore.ErrDiffers)
	}}
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: history(r, 2), Target: m})
	if res.Skipped != 3 || res.Differs != 2 || res.Failed != 0 || res.Entries != 0 {
		t.Errorf("%+v", res)
	}
}
