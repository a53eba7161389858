package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/stall"
)

// Limit bounds what a server can do to whoever asks it: a request on which next to nothing moves for stall (0: three
// quarters of stall.Default) ends, and an answer that is not an object's content is read up to 16 MiB, a listing up to as
// many names as were asked for. NewTransport bounds the headers.
func Limit(next http.RoundTripper, limit time.Duration) http.RoundTripper {
	if limit <= 0 {
		limit = requestStall(stall.Default)
	}
	return &limiter{next: next, stall: limit}
}

// requestStall is how long one request may stand still, where the vault as a whole may for limit: there is time left for
// another try, on another connection.
func requestStall(limit time.Duration) time.Duration { return limit * 3 / 4 }

type limiter struct {
	next  http.RoundTripper
	stall time.Duration
}

// contentKey marks the context of requests for an object's content, which the caller bounds.
type contentKey struct{}

func forContent(ctx context.Context) context.Context {
	return context.WithValue(ctx, contentKey{}, true)
}

func (l *limiter) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	w := stall.NewWatch(l.stall, cancel)
	out := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = sentBody{r.Body, w}
	}
	w.Enter()
	resp, err := l.next.RoundTrip(out)
	w.Exit()
	if err != nil {
		cancel(nil)
		return nil, standstill(w, err)
	}
	w.Add(stall.Request)
	b := &answer{ReadCloser: resp.Body, w: w, end: cancel, left: -1}
	if content, _ := r.Context().Value(contentKey{}).(bool); !content || resp.StatusCode >= http.StatusMultipleChoices {
		b.left = maxAnswer
		if most, err := strconv.Atoi(r.URL.Query().Get("max-keys")); err == nil && r.Method == http.MethodGet {
			b.names = &nameCount{left: most, tags: tagsPerName*most + tagsPerName}
		}
	}
	resp.Body = b
	return resp, nil
}

// CloseIdleConnections drops those of the transport below.
func (l *limiter) CloseIdleConnections() {
	type closer interface{ CloseIdleConnections() }
	if c, ok := l.next.(closer); ok {
		c.CloseIdleConnections()
	}
}

// standstill says of a request that was ended for it that nothing moved. It may be tried again: whether the vault as a
// whole stands still is seen elsewhere.
func standstill(w *stall.Watch, err error) error {
	if stalled := w.Err(); stalled != nil {
		return errors.New(stalled.Error())
	}
	return err
}

// sentBody is a request's body; what is taken of it is progress.
type sentBody struct {
	io.ReadCloser
	w *stall.Watch
}

func (b sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.w.Add(int64(n))
	return n, err
}

// answer is a response's body.
type answer struct {
	io.ReadCloser
	w     *stall.Watch
	end   context.CancelCauseFunc
	left  int64 // bytes that may come; -1: any number
	names *nameCount
	err   error
}

func (a *answer) Read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	if a.left >= 0 {
		p = p[:min(int64(len(p)), a.left+1)]
	}
	a.w.Enter()
	n, err := a.ReadCloser.Read(p)
	a.w.Exit()
	a.w.Add(int64(n))
	switch {
	case a.left >= 0 && int64(n) > a.left:
		n, err = int(a.left), fmt.Errorf("%w: over %d MiB", store.ErrTooLarge, maxAnswer>>20)
	case err != nil && err != io.EOF: //nolint:errorlint // an end that is wrapped is none
		err = standstill(a.w, err)
	}
	if a.left >= 0 {
		a.left -= int64(n)
	}
	if a.names != nil {
		if cerr := a.names.take(p[:n]); cerr != nil {
			n, err = 0, cerr
		}
	}
	if err != nil {
		a.err = err
	}
	return n, err
}

func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.end(nil)
	return err
}

// tagsPerName is how many tags of a listing there may be for each name that was asked for; vendors send up to thirty.
const tagsPerName = 200

// nameCount counts the entries of a listing as they come, before they are decoded: a decoded entry takes a hundred times
// the memory of the few bytes that it can be sent in.
type nameCount struct {
	left, tags int
	in         bool   // within a start tag's name
	tag        []byte // as far as it has come
}

// entryTags are the elements of a listing that hold a name. The longest bounds what is kept of a tag.
func entryTag(tag []byte) bool {
	if i := bytes.LastIndexByte(tag, ':'); i >= 0 {
		tag = tag[i+1:]
	}
	switch string(tag) {
	case "Version", "DeleteMarker", "Contents", "CommonPrefixes":
		return true
	}
	return false
}

func (c *nameCount) take(b []byte) error {
	for _, x := range b {
		switch {
		case x == '<':
			c.in, c.tag = true, c.tag[:0]
			if c.tags--; c.tags < 0 {
				return fmt.Errorf("%w: a listing of more elements than entries can have", store.ErrTooLarge)
			}
		case !c.in:
		case x == '>' || x == '/' || x == ' ' || x == '\t' || x == '\r' || x == '\n':
			c.in = false
			if !entryTag(c.tag) {
				continue
			}
			if c.left--; c.left < 0 {
				return fmt.Errorf("%w: a listing of more names than were asked for", store.ErrTooLarge)
			}
		case len(c.tag) < 64:
			c.tag = append(c.tag, x)
		}
	}
	return nil
}
