package tobucket

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// past is a version or delete marker that is at the target.
type past struct {
	key, version string
	etag         string
	size         int64
	marker       bool
	latest       bool
	modified     time.Time
}

// versionsPage is one page of a listing of versions, sorted by key, the newest version of each first.
type versionsPage struct {
	items     []past
	truncated bool
	next      place
}

// place is where a page begins. A server's own are passed back as they are: MinIO adds things of its own to keys.
type place struct{ key, version string }

// maxListing bounds an answer: a page has 1,000 entries, each with a key of at most three times 1,024 bytes.
const maxListing = 16 << 20

// listVersions asks for one page. The SDK gives versions and delete markers in two lists, without the order between them;
// so the answer is read again here.
func (t *looking) listVersions(ctx context.Context, prefix string, from place) (*versionsPage, error) {
	var body []byte
	_, err := t.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{
		Bucket: &t.o.Bucket, Prefix: &prefix, KeyMarker: text(from.key), VersionIdMarker: text(from.version), EncodingType: types.EncodingTypeUrl,
	}, keepBody(&body))
	if body == nil {
		return nil, err
	}
	p, perr := parseVersions(body)
	if perr != nil {
		return nil, fmt.Errorf("list the versions in %s: %w", t.name, cmp.Or(err, perr))
	}
	if p.truncated && p.next == from {
		return nil, fmt.Errorf("list the versions in %s: the server does not go on after %q", t.name, from.key)
	}
	return p, nil
}

// keepBody keeps the body of a good answer, whatever the SDK then makes of it: it refuses a whole listing for a time in another
// form than AWS's, which nothing here asks for.
func keepBody(into *[]byte) func(*s3.Options) {
	return option(func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("KeepBody",
			func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
				out, meta, err := next.HandleDeserialize(ctx, in)
				resp, ok := out.RawResponse.(*smithyhttp.Response)
				if err != nil || !ok || resp.StatusCode != http.StatusOK {
					return out, meta, err
				}
				b, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1))
				_ = resp.Body.Close() // what counts was read
				if err == nil && len(b) > maxListing {
					err = fmt.Errorf("the server's answer is longer than %d MiB", maxListing>>20)
				}
				if resp.Body = io.NopCloser(bytes.NewReader(b)); err == nil {
					*into = b
				}
				return out, meta, err
			}), middleware.After)
	})
}

// readList reads the document of a listing; root is where it keeps its name, which vendors do not all spell alike.
func readList(body []byte, doc any, root *xml.Name) error {
	if err := xml.Unmarshal(body, doc); err != nil {
		return err
	}
	if !strings.HasPrefix(root.Local, "List") {
		return fmt.Errorf("the answer is no listing: it begins with <%s>", root.Local)
	}
	return nil
}

// parseVersions reads a ListVersionsResult.
func parseVersions(body []byte) (*versionsPage, error) {
	var doc struct {
		XMLName             xml.Name
		IsTruncated         bool
		NextKeyMarker       string
		NextVersionIdMarker string //nolint:revive // S3's name
		EncodingType        string
		Items               []struct {
			XMLName        xml.Name
			Key, VersionId string //nolint:revive // S3's name
			ETag           string
			IsLatest       bool
			Size           int64
			LastModified   string
		} `xml:",any"`
	}
	if err := readList(body, &doc, &doc.XMLName); err != nil {
		return nil, err
	}
	if doc.XMLName.Local == "ListBucketResult" { // a server that passes over ?versions: there would seem to be none
		return nil, errors.New("the server answers with what is current: it does not list versions")
	}
	plain := func(s string) (string, error) {
		if doc.EncodingType != "url" {
			return s, nil
		}
		return url.QueryUnescape(s)
	}
	p := &versionsPage{truncated: doc.IsTruncated, next: place{version: doc.NextVersionIdMarker}}
	var err error
	if p.next.key, err = plain(doc.NextKeyMarker); err != nil {
		return nil, err
	}
	for _, i := range doc.Items {
		if i.XMLName.Local != "Version" && i.XMLName.Local != "DeleteMarker" {
			continue
		}
		x := past{version: i.VersionId, etag: strings.Trim(i.ETag, `"`), size: i.Size, marker: i.XMLName.Local == "DeleteMarker", latest: i.IsLatest}
		if x.key, err = plain(i.Key); err != nil {
			return nil, err
		}
		x.modified, _ = time.Parse(time.RFC3339, i.LastModified) // zero sorts last, where it is asked for at all
		p.items = append(p.items, x)
	}
	p.sort()
	return p, nil
}

// sort orders a page by key, and the versions of a key from the newest to the oldest: as AWS and MinIO send them, which is
// kept. versitygw sends all delete markers first; its version IDs sort by time.
func (p *versionsPage) sort() {
	apart := false
	for i := 1; i < len(p.items); i++ {
		a, b := &p.items[i-1], &p.items[i]
		apart = apart || b.key < a.key || b.key == a.key && (b.latest || ulidAfter(b, a))
	}
	if !apart {
		return
	}
	slices.SortStableFunc(p.items, func(a, b past) int {
		switch {
		case a.key != b.key:
			return cmp.Compare(a.key, b.key)
		case a.latest != b.latest:
			if a.latest {
				return -1
			}
			return 1
		case ulidAfter(&a, &b):
			return -1
		case ulidAfter(&b, &a):
			return 1
		}
		return b.modified.Compare(a.modified)
	})
}

// ulidAfter reports whether both version IDs are ULIDs, which sort by time, and a's is the later.
func ulidAfter(a, b *past) bool {
	return len(a.version) == 26 && len(b.version) == 26 && a.version > b.version
}

// history gives the versions of one key at the target, the oldest first. A server lists the newest first: so all pages
// are gone through once, of which only their places are kept, and asked for again from the last to the first.
type history struct {
	t      *Target
	key    string
	starts []place         // where pages begin; those that were not gone through yet
	page   []past          // the rest of the page at hand, the newest first
	met    map[string]bool // the versions of the page at hand: some servers repeat entries where pages meet
	newest *past           // nil: there is nothing
}

func (t *looking) history(ctx context.Context, key string) (*history, error) {
	h := &history{t: t.Target, key: key, starts: []place{{}}}
	for {
		page, next, err := h.list(ctx, h.starts[len(h.starts)-1])
		if err != nil {
			return nil, err
		}
		if h.newest == nil && len(page) > 0 {
			x := page[0]
			h.newest = &x
		}
		if next == nil {
			h.starts = h.starts[:len(h.starts)-1]
			h.take(page)
			return h, nil
		}
		h.starts = append(h.starts, *next)
	}
}

// list gives one page of the key's versions and where the next one begins, nil if there is none. The key is its own prefix:
// others that begin with it come after.
func (h *history) list(ctx context.Context, from place) (page []past, next *place, err error) {
	p, err := h.t.look.listVersions(ctx, h.key, from)
	if err != nil {
		return nil, nil, h.t.explain("list the versions of", h.key, err)
	}
	for _, x := range p.items {
		if x.key == h.key {
			page = append(page, x)
		}
	}
	if p.truncated && len(page) == len(p.items) {
		next = &p.next
	}
	return page, next, nil
}

// take goes on to a page.
func (h *history) take(page []past) {
	ids := make(map[string]bool, len(page))
	for _, x := range page {
		ids[x.version] = true
	}
	h.page = slices.DeleteFunc(page, func(x past) bool { return h.met[x.version] })
	h.met = ids
}

// next gives the oldest version that was not given yet, nil after the newest.
func (h *history) next(ctx context.Context) (*past, error) {
	for len(h.page) == 0 {
		if len(h.starts) == 0 {
			return nil, nil
		}
		from := h.starts[len(h.starts)-1]
		h.starts = h.starts[:len(h.starts)-1]
		page, _, err := h.list(ctx, from)
		if err != nil {
			return nil, err
		}
		h.take(page)
	}
	x := h.page[len(h.page)-1]
	h.page = h.page[:len(h.page)-1]
	return &x, nil
}
