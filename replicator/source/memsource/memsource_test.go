package memsource_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func fixture(s *memsource.Source) *sourcetest.Fixture {
	return &sourcetest.Fixture{
		Source: s,
		Put:    func(_ *testing.T, key string, body []byte) { s.Put(key, body) },
		Delete: func(_ *testing.T, key string) { s.Delete(key) },
		Deny:   func(_ *testing.T, key string) { s.Fail(key, memsource.Fault{Failure: memsource.Unreadable}) },
		Rich: func(_ *testing.T) []sourcetest.Want {
			s.PutEntry(format.Entry{Key: "rich", ContentType: "text/plain", Metadata: map[string]string{"m": "1"}}, []byte("x"))
			s.SetTags("rich", map[string]string{"t": "2"})
			return []sourcetest.Want{{Key: "rich", Check: func(t *testing.T, e *format.Entry) {
				if e.ContentType != "text/plain" || e.Metadata["m"] != "1" || e.Tags["t"] != "2" || e.TagsRead == 0 {
					t.Errorf("%+v", e)
				}
			}}}
		},
	}
}

func TestConformance(t *testing.T) {
	keys := append(sourcetest.DefaultKeys(), "a//b", "../y", "./x", "x/", "\xff\xfe")
	t.Run("current", func(t *testing.T) {
		sourcetest.Run(t, sourcetest.Harness{Keys: keys, Pinned: true, New: func(*testing.T) *sourcetest.Fixture {
			return fixture(memsource.New(memsource.Options{}))
		}})
	})
	t.Run("all", func(t *testing.T) {
		sourcetest.Run(t, sourcetest.Harness{Keys: keys, Pinned: true, Versioned: true, New: func(*testing.T) *sourcetest.Fixture {
			return fixture(memsource.New(memsource.Options{AllVersions: true}))
		}})
	})
}

func TestFaults(t *testing.T) {
	ctx := context.Background()
	read := func(s *memsource.Source) (int, error) {
		v, err := s.Freeze(ctx)
		if err != nil {
			return 0, err
		}
		for e, err := range v.Entries(ctx, "", "") {
			if err != nil {
				return 0, err
			}
			r, err := v.Open(ctx, e, 0, -1)
			if err != nil {
				return 0, err
			}
			return io.ReadFull(r, make([]byte, e.Size)) // never sees io.EOF: the failure must come before
		}
		return 0, nil
	}
	for _, c := range []struct {
		f    memsource.Fault
		want error
	}{
		{memsource.Fault{Failure: memsource.Changed}, source.ErrChanged},
		{memsource.Fault{Failure: memsource.Gone}, source.ErrGone},
		{memsource.Fault{Failure: memsource.Broken}, memsource.ErrBroken},
		{memsource.Fault{Failure: memsource.ChangedLate, After: 3}, source.ErrChanged},
		{memsource.Fault{Failure: memsource.ChangedLate, After: 300}, source.ErrChanged},
		{memsource.Fault{Failure: memsource.Short, After: 3}, io.ErrUnexpectedEOF},
		{memsource.Fault{Failure: memsource.Corrupt, After: 3}, source.ErrCorrupt},
		{memsource.Fault{Failure: memsource.BrokenLate}, memsource.ErrBroken},
		{memsource.Fault{Failure: memsource.Listing}, memsource.ErrBroken},
	} {
		s := memsource.New(memsource.Options{})
		s.Put("k", []byte("0123456789"))
		c.f.Times = 1
		s.Fail("k", c.f)
		if _, err := read(s); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.f, err)
		}
		s.Heal("k")
		if n, err := read(s); err != nil || n != 10 {
			t.Errorf("%+v, healed: %d, %v", c.f, n, err)
		}
	}
	s := memsource.New(memsource.Options{})
	s.Fail("", memsource.Fault{Failure: memsource.Broken})
	if _, err := s.Freeze(ctx); !errors.Is(err, memsource.ErrBroken) {
		t.Error(err)
	}
}
