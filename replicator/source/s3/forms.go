package s3source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// form is a way to ask for content. Servers and fronts that unpack what is stored compressed leave it alone if gzip is
// accepted; a range is always one of what is stored, and says how long that is.
type form struct {
	encoding string
	ranged   bool
}

// forms are the ways to ask for a whole object, the one that will most probably do first.
func (v *view) forms(size int64) []form {
	plain, gzip, ranged := form{encoding: "identity"}, form{encoding: "gzip"}, form{encoding: "identity", ranged: true}
	var out []form
	switch {
	case v.s.facts.has(unpacked):
		out = []form{gzip, plain, ranged}
	case v.s.facts.has(noLength):
		out = []form{ranged, plain, gzip}
	default:
		out = []form{plain, gzip, ranged}
	}
	if size == 0 {
		out = slices.DeleteFunc(out, func(f form) bool { return f.ranged })
	}
	return out
}

// openStream begins a read of n bytes from off, and completes e if off is 0. A whole object is asked for in one form after
// the other until an answer is as long as what was listed.
func (v *view) openStream(ctx context.Context, e *format.Entry, off, n int64) (*stream, error) {
	if off > 0 || n < e.Size {
		st, err := v.openForm(ctx, e, off, n, form{encoding: "identity", ranged: true})
		if err != nil {
			return nil, err
		}
		return st.completing(ctx, e)
	}
	var other *otherLength
	var unsaid *form
	for i, f := range v.forms(e.Size) {
		st, err := v.openForm(ctx, e, off, n, f)
		switch {
		case errors.As(err, &other):
			continue
		case err != nil && i > 0 && !errors.Is(err, source.ErrChanged) && !errors.Is(err, source.ErrGone) && ctx.Err() == nil:
			continue // what a server makes of ranges and encodings tells nothing about the object
		case err != nil:
			return nil, err
		case st.silent:
			if unsaid == nil && st.check != nil {
				unsaid = &f
			}
			_ = st.Close()
			other = cmp.Or(other, &otherLength{got: -1})
			continue
		}
		if i > 0 {
			v.s.facts.learn(map[bool]habit{true: noLength, false: unpacked}[f.ranged])
		}
		return st.completing(ctx, e)
	}
	if unsaid == nil {
		return nil, other.unreadable(e)
	}
	// Nobody says how long it is, but its checksum will say whether this is it.
	st, err := v.openForm(ctx, e, off, n, *unsaid)
	if err != nil {
		return nil, err
	}
	return st.completing(ctx, e)
}

// openForm begins a read in one form.
func (v *view) openForm(ctx context.Context, e *format.Entry, off, n int64, f form) (*stream, error) {
	st := &stream{v: v, parent: ctx, e: *e, off: off, end: off + n, form: f}
	out, err := st.request()
	if err != nil {
		return nil, err
	}
	st.first = out
	if off == 0 && n == e.Size {
		st.check = newCheck(out, checksums(out), e.ETag, v.s.o.ETag == "opaque" || v.s.facts.has(opaqueTags))
	}
	return st, nil
}

// completing fills in what the first answer says of e, if the read begins where e does.
func (t *stream) completing(ctx context.Context, e *format.Entry) (*stream, error) {
	out := t.first
	t.first = nil
	if t.off > 0 {
		return t, nil
	}
	if err := t.v.meta.complete(ctx, e, out); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// otherLength is content that is not as long as the object that was listed, or whose length nobody says (-1).
type otherLength struct{ got, want int64 }

func (o *otherLength) Error() string {
	if o.got < 0 {
		return "the server does not say how long the content is"
	}
	return fmt.Sprintf("the server gives %d bytes where it lists %d", o.got, o.want)
}

// unreadable says so of an entry.
func (o *otherLength) unreadable(e *format.Entry) error {
	u := &source.Unreadable{Key: e.Key, Reason: "delivered with another length than listed", Err: o}
	if o.got < 0 {
		u.Reason, u.Err = "delivered without its length", fmt.Errorf("%w, and gives no checksum that would tell whether it is whole", o)
	}
	if e.ContentEncoding != "" {
		u.Err = fmt.Errorf("%w; it is stored with Content-Encoding: %.40s, which the server or a front before it may unpack", u.Err, e.ContentEncoding)
	} else {
		u.Err = fmt.Errorf("%w; the server, or a front before it, may unpack or change what is stored", u.Err)
	}
	return u
}
