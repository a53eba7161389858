package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Program is a fixture of a source that is what a program writes.
type Program struct {
	Source source.Source
	Key    string
	Runs   func(t *testing.T) int          // how often the program was started
	Writes func(t *testing.T, body []byte) // it writes this and ends well
	Fails  func(t *testing.T, body []byte) // it writes this and then comes to nothing
	Hangs  func(t *testing.T, body []byte) // it writes this and goes on for ever
	Gone   func(t *testing.T)              // there is no such program
}

// RunOutput holds a driver to the contract of source.Output.
func RunOutput(t *testing.T, newProgram func(t *testing.T) *Program) {
	for _, c := range []struct {
		name string
		run  func(*output)
	}{
		{"Listed", (*output).listed}, {"Read", (*output).read}, {"Another", (*output).another}, {"Fails", (*output).fails},
		{"Cancel", (*output).cancel}, {"Closed", (*output).closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c.run(&output{T: t, Program: newProgram(t), ctx: ctx})
			noLeaks(t)
		})
	}
}

type output struct {
	*testing.T
	*Program
	ctx context.Context //nolint:containedctx // of one test
}

// outputView is a View of what programs write.
type outputView interface {
	source.View
	source.Live
	source.Output
}

func (o *output) view() outputView {
	o.Helper()
	v, err := o.Source.Freeze(o.ctx)
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() {
		if err := v.Close(); err != nil {
			o.Error(err)
		}
	})
	view, ok := v.(outputView)
	if !ok {
		o.Fatal("the view is not of what a program writes")
	}
	return view
}

func (o *output) list(v source.View, from, to string) []*format.Entry {
	o.Helper()
	var all []*format.Entry
	for e, err := range v.Entries(o.ctx, from, to) {
		if err != nil {
			o.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// listed: it is there whatever it writes, with no size, and nothing is run for that.
func (o *output) listed() {
	o.Fails(o.T, nil)
	v := o.view()
	all := o.list(v, "", "")
	if len(all) != 1 || all[0].Key != o.Key || all[0].Kind != format.KindFile || all[0].Size != 0 || all[0].Missing != "" || !all[0].SHA256.IsZero() || all[0].Modified.IsZero() {
		o.Fatalf("%+v", all)
	}
	for r, n := range map[[2]string]int{{o.Key, ""}: 1, {o.Key, o.Key + "\x00"}: 1, {"", o.Key}: 0, {o.Key + "\x00", ""}: 0} {
		if got := o.list(v, r[0], r[1]); len(got) != n {
			o.Errorf("from %q to %q: %d entries", r[0], r[1], len(got))
		}
	}
	if _, err := v.Open(o.ctx, all[0], 0, -1); !errors.Is(err, source.ErrLength) {
		o.Errorf("opened as it is listed: %v", err)
	}
	if n := o.Runs(o.T); n != 0 {
		o.Errorf("it was run %d times", n)
	}
}

func (o *output) open(ctx context.Context) (source.LiveStream, *format.Entry, error) {
	o.Helper()
	v := o.view()
	e := o.list(v, "", "")[0]
	s, err := v.OpenLive(ctx, e)
	return s, e, err
}

func (o *output) read() {
	for i, body := range [][]byte{nil, []byte("x"), Content(1, 5<<20+3)} {
		o.Writes(o.T, body)
		s, e, err := o.open(o.ctx)
		if err != nil {
			o.Fatal(err)
		}
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, body) {
			o.Errorf("%d bytes instead of %d, %v", len(got), len(body), err)
		}
		if size, unsettled, other := s.Settle(); size != int64(len(body)) || unsettled || !other {
			o.Errorf("%d bytes, %t, %t", size, unsettled, other)
		}
		if err := s.Close(); err != nil {
			o.Error(err)
		}
		if e.Key != o.Key || e.Kind != format.KindFile || e.File == nil || e.Modified.IsZero() {
			o.Errorf("%+v", e)
		}
		if n := o.Runs(o.T); n != i+1 {
			o.Errorf("it was run %d times", n)
		}
	}
}

// another: no listing looks like an earlier one, or it would be taken for unchanged.
func (o *output) another() {
	seen := map[string]bool{}
	for range 3 {
		e := o.list(o.view(), "", "")[0]
		seen[string(e.AppendListing(nil))] = true
		time.Sleep(time.Millisecond) // what a clock tells apart
	}
	if len(seen) != 3 {
		o.Errorf("%d of 3 listings differ", len(seen))
	}
}

// fails: what comes to nothing never ends as if it were whole, also where all of it came.
func (o *output) fails() {
	for _, body := range [][]byte{nil, []byte("half"), Content(2, 3<<20)} {
		o.Fails(o.T, body)
		s, _, err := o.open(o.ctx)
		var u *source.Unreadable
		if err == nil {
			var got []byte
			got, err = io.ReadAll(s)
			if !bytes.Equal(got, body) {
				o.Errorf("%d bytes", len(got))
			}
			if _, again := s.Read(make([]byte, 1)); !errors.As(again, &u) {
				o.Errorf("read again: %v", again)
			}
			if err := s.Close(); err != nil {
				o.Error(err)
			}
		}
		if !errors.As(err, &u) || u.Key != o.Key || u.Reason == "" || u.Accepted {
			o.Errorf("%v", err)
		}
	}
	o.Gone(o.T)
	s, _, err := o.open(o.ctx)
	if u := new(source.Unreadable); !errors.As(err, &u) {
		o.Errorf("no such program: %v, %v", s, err)
	}
}

func (o *output) cancel() {
	o.Hangs(o.T, []byte("begin"))
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	s, _, err := o.open(ctx)
	if err != nil {
		o.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		o.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(s); !errors.Is(err, context.Canceled) {
		o.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		o.Error(err)
	}
	if _, _, err := o.open(ctx); !errors.Is(err, context.Canceled) {
		o.Errorf("%v", err)
	}
}

// closed: who reads no further ends the program.
func (o *output) closed() {
	o.Hangs(o.T, []byte("begin"))
	s, _, err := o.open(o.ctx)
	if err != nil {
		o.Fatal(err)
	}
	if err := s.Close(); err != nil {
		o.Error(err)
	}
}
