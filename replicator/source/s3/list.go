package s3source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxPageBytes bounds one page of a listing: 1,000 keys of 1,024 bytes, three characters to a byte, and their fields.
const maxPageBytes = 16 << 20

// cursor is where a page begins.
type cursor struct {
	after     string // only keys after this one: of the first page, and of all where there are no tokens
	token     string // ListObjectsV2
	prefix    string // narrower than the source's
	keyMarker string // ListObjectVersions
	verMarker string
	limit     int32 // 0: as many as the server gives
}

// page lists one page, of versions where the view is of all of them.
func (v *listing) page(ctx context.Context, c cursor) (*listPage, error) {
	var p *listPage
	take := func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(&pageReader{page: &p}, middleware.After)
		})
	}
	var limit *int32
	if c.limit > 0 {
		limit = &c.limit
	}
	prefix := optional(cmp.Or(c.prefix, v.s.o.Prefix))
	var err error
	switch {
	case v.s.all():
		if c.keyMarker == "" {
			c.keyMarker = c.after
		}
		_, err = v.s.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{
			Bucket: &v.s.o.Bucket, Prefix: prefix, MaxKeys: limit, EncodingType: types.EncodingTypeUrl,
			KeyMarker: optional(c.keyMarker), VersionIdMarker: optional(c.verMarker), RequestPayer: v.payer(),
		}, take)
	case v.s.facts.has(firstKind):
		_, err = v.s.client.ListObjects(ctx, &s3.ListObjectsInput{
			Bucket: &v.s.o.Bucket, Prefix: prefix, MaxKeys: limit, EncodingType: types.EncodingTypeUrl,
			Marker: optional(c.after), RequestPayer: v.payer(),
		}, take)
	default:
		in := &s3.ListObjectsV2Input{
			Bucket: &v.s.o.Bucket, Prefix: prefix, MaxKeys: limit, EncodingType: types.EncodingTypeUrl,
			ContinuationToken: optional(c.token), RequestPayer: v.payer(),
		}
		if c.token == "" {
			in.StartAfter = optional(c.after)
		}
		_, err = v.s.client.ListObjectsV2(ctx, in, take)
	}
	if err != nil {
		return nil, v.listError(ctx, err)
	}
	if p != nil && p.noZone {
		v.s.facts.learn(noZone)
	}
	if p == nil {
		return nil, fmt.Errorf("list %s: %w: no listing in the answer", v.s.name, errXML)
	}
	// A server that knows no versions may pass over ?versions: what it lists then is a part of what is asked for.
	if want := v.s.root(); p.root != want {
		return nil, v.listError(ctx, fmt.Errorf("%w: it begins with <%s> instead of <%s>", errXML, p.root, want))
	}
	return p, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}

// pageReader stands between the transport and the SDK's reader of listings: it reads the body itself and leaves the SDK
// an empty document.
type pageReader struct{ page **listPage }

// ID implements middleware.DeserializeMiddleware.
func (*pageReader) ID() string { return "holdfast.pageReader" }

// HandleDeserialize implements middleware.DeserializeMiddleware.
func (r *pageReader) HandleDeserialize(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (out middleware.DeserializeOutput, md middleware.Metadata, err error) {
	out, md, err = next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || resp.StatusCode != http.StatusOK {
		return out, md, err
	}
	body := resp.Body
	defer body.Close() //nolint:errcheck // read to its end
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxPageBytes {
		b.Grow(int(n) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(body, maxPageBytes+1)); err != nil {
		return out, md, &again{fmt.Errorf("read a page of the listing: %w", err)}
	}
	if b.Len() > maxPageBytes {
		return out, md, fmt.Errorf("%w: a page of more than %d bytes", errXML, maxPageBytes)
	}
	p, err := parsePage(b.Bytes())
	if err != nil {
		return out, md, err
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		p.date = t
	}
	p.server = resp.Header.Get("Server")
	*r.page = p
	resp.Body = io.NopCloser(strings.NewReader("<ListBucketResult/>"))
	return out, md, nil
}

// again is an error that the retryer tries again.
type again struct{ err error }

func (a *again) Error() string { return a.err.Error() }
func (a *again) Unwrap() error { return a.err }

// RetryableError tells the SDK's retryer.
func (*again) RetryableError() bool { return true }

// justBefore gives a key below from with, for all that matters, nothing between: servers list after a key, not from it.
// What does lie between is dropped by the caller.
func justBefore(from string) string {
	for !utf8.ValidString(from) {
		from = from[:len(from)-1]
	}
	r, n := utf8.DecodeLastRuneInString(from)
	head := from[:len(from)-n]
	switch {
	case n == 0 || r <= 1:
		return head
	case r == 0xE000:
		r = 0xD7FF // what lies between are surrogates, which no key has
	default:
		r--
	}
	if len(from) > 1000 {
		return head
	}
	return head + string(r) + string(utf8.MaxRune)
}

// Entries implements source.View.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		given := false
		give := func(i *listItem) bool {
			if v.s.exclude.Match(i.key) {
				return true
			}
			given = true
			return yield(i.entry(v.s.all()), nil)
		}
		err := v.list.listed(ctx, from, to, give)
		if errors.Is(err, source.ErrOrder) && !given {
			err = v.list.listed(ctx, from, to, give) // nobody has seen anything of the first try
		}
		if err != nil && err != errStop { //nolint:errorlint // our own, never wrapped
			yield(nil, err)
		}
	}
}

// listed gives the items of a range in order.
func (v *listing) listed(ctx context.Context, from, to string, give func(*listItem) bool) error {
	switch {
	case v.s.facts.has(disorder):
		return v.sorted(ctx, from, to, give)
	case v.s.all():
		h := &history{v: v.view, give: give}
		err := v.each(ctx, from, to, h.add)
		if err == nil {
			_, err = h.flush(ctx)
		}
		return err
	}
	return v.each(ctx, from, to, func(_ context.Context, i *listItem) (bool, error) { return give(i), nil })
}

// pages gives one page of a listing after the other, as the server has them.
func (v *listing) pages(ctx context.Context, c cursor) iter.Seq2[*listPage, error] {
	return func(yield func(*listPage, error) bool) {
		var before *listItem // the first of the page before
		for empty := 0; ; {
			p, err := v.page(ctx, c)
			if err == nil && v.startsOver(c, p, before) {
				p, err = v.byFirstKind(ctx, c, before)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(p, nil) || !p.truncated {
				return
			}
			if empty++; len(p.items) > 0 {
				empty, before = 0, &p.items[0]
			}
			if empty > maxEmpty {
				yield(nil, fmt.Errorf("list %s: the server says there is more and gave %d pages with nothing in them: %w", v.s.name, empty, store.ErrListing))
				return
			}
			if c, err = v.advance(c, p); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// maxEmpty is how many pages in a row may hold nothing: AWS has a few where much was deleted.
const maxEmpty = 1000

// startsOver reports whether a listing that was to go on after a key gives the page before once more.
func (v *listing) startsOver(c cursor, p *listPage, before *listItem) bool {
	return before != nil && c.after != "" && len(p.items) > 0 && p.items[0].key == before.key && !v.s.all()
}

// byFirstKind asks for a page that the second kind of listing did not give.
func (v *listing) byFirstKind(ctx context.Context, c cursor, before *listItem) (*listPage, error) {
	if v.s.facts.learn(firstKind) {
		p, err := v.page(ctx, c)
		if err != nil || !v.startsOver(c, p, before) {
			return p, err
		}
	}
	return nil, fmt.Errorf("list %s: the server says there is more after %.200q and gives the same page again: %w", v.s.name, c.after, store.ErrListing)
}

// each pages through the range and hands every item on once. It holds the server to the order of key bytes, because
// everything that reads a view depends on it.
func (v *listing) each(ctx context.Context, from, to string, visit func(context.Context, *listItem) (bool, error)) error {
	var c cursor
	if from > v.s.o.Prefix {
		c.after = justBefore(from)
	}
	var last listItem
	odd := garbled{from: from, to: to, visit: visit}
	first := true
	for p, err := range v.pages(ctx, c) {
		if err != nil {
			return err
		}
		repeated := v.repeats(p, &last)
		if first {
			repeated = nil
		}
		first = false
		if err := v.pageInOrder(p, &last, repeated); err != nil {
			return err
		}
		for i := range p.items {
			it := &p.items[i]
			if p.garbles(it.key) {
				if err := v.holdBack(&odd, it); err != nil {
					return err
				}
				continue
			}
			if repeated[it.version] && it.key == last.key {
				continue
			}
			last = *it
			if it.key < from {
				continue
			}
			if to != "" && it.key >= to {
				return odd.before(ctx, to)
			}
			if err := odd.before(ctx, it.key); err != nil {
				return err
			}
			more, err := visit(ctx, it)
			if err != nil {
				return err
			}
			if !more {
				return errStop
			}
		}
	}
	return odd.before(ctx, to)
}

// pageInOrder checks a page before anything of it is handed on, so that a server that lists in another order is mostly
// found out while nobody has seen anything yet.
func (v *listing) pageInOrder(p *listPage, last *listItem, repeated map[string]bool) error {
	prev := last
	for i := range p.items {
		it := &p.items[i]
		if p.garbles(it.key) || repeated[it.version] && it.key == last.key {
			continue
		}
		if err := v.inOrder(it, prev); err != nil {
			return err
		}
		prev = it
	}
	return nil
}

// repeats gives the versions of last.key in p if p begins with what came before: some servers repeat entries at the
// boundary of a page of versions, and some begin with the key after which they were asked to.
func (v *listing) repeats(p *listPage, last *listItem) map[string]bool {
	if !v.s.all() && last.key != "" && len(p.items) > 0 && p.items[0].key == last.key {
		return map[string]bool{p.items[0].version: true}
	}
	if !v.s.all() || len(p.items) == 0 || p.items[0].key != last.key {
		return nil
	}
	for i := range p.items {
		if p.items[i].key != last.key {
			return nil
		}
		if p.items[i].version == last.version { // all up to the last seen were given before
			seen := make(map[string]bool, i+1)
			for j := range i + 1 {
				seen[p.items[j].version] = true
			}
			return seen
		}
	}
	return nil
}

// ofPrefix checks that an item is of the source at all.
func (v *listing) ofPrefix(it *listItem) error {
	if it.key == "" {
		return fmt.Errorf("list %s: %w: an entry without a key", v.s.name, errXML)
	}
	if !strings.HasPrefix(it.key, v.s.o.Prefix) {
		return fmt.Errorf("list %s: the server gave key %.200q outside the prefix: %w", v.s.name, it.key, store.ErrListing)
	}
	return nil
}

// inOrder checks one item against the one before.
func (v *listing) inOrder(it, last *listItem) error {
	if err := v.ofPrefix(it); err != nil {
		return err
	}
	switch {
	case last.key == "", it.key > last.key, v.s.all() && it.key == last.key && it.version != last.version:
		return nil
	case it.key == last.key:
		return fmt.Errorf("list %s: the server gave key %.200q twice: %w", v.s.name, it.key, store.ErrListing)
	}
	v.s.facts.learn(disorder)
	return fmt.Errorf("list %s: the server gave key %.200q after %.200q: %w: %w", v.s.name, it.key, last.key, source.ErrOrder, store.ErrListing)
}

// advance gives the next page's cursor; one that stands still would list for ever.
func (v *listing) advance(c cursor, p *listPage) (cursor, error) {
	if p.garbles(p.token) || p.garbles(p.keyMarker) {
		// Going on there would leave out what lies between that name and the true one.
		return c, v.lostPlace(cmp.Or(p.keyMarker, p.token))
	}
	next := cursor{token: p.token, keyMarker: p.keyMarker, verMarker: p.verMarker, prefix: c.prefix}
	still := false
	switch {
	case v.s.all():
		still = p.keyMarker == "" || (p.keyMarker == c.keyMarker && p.verMarker == c.verMarker)
	case p.token == "":
		if n := len(p.items); n > 0 {
			next.after = p.items[n-1].key
		} else {
			next.after = p.next
		}
		if p.garbles(next.after) {
			return c, v.lostPlace(next.after)
		}
		if still = next.after == "" || next.after == c.after; !still {
			v.s.facts.learn(noTokens)
		}
	default:
		still = p.token == c.token
	}
	if still {
		return c, fmt.Errorf("list %s: the server says there is more and gives no new place to go on: %w", v.s.name, store.ErrListing)
	}
	return next, nil
}

func (v *listing) lostPlace(key string) error {
	return fmt.Errorf("list %s: the server cannot say where its listing goes on: the key %.200q holds control characters, and it does not follow encoding-type=url; rename that object: %w",
		v.s.name, key, store.ErrListing)
}
