package main

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

// pageNames is how many names the answer to one listing request holds, at most vendors.
const pageNames = 1000

// counting is a vault that counts the requests it is asked, as a vendor would: a listing is one for each thousand names.
type counting struct {
	store.Reader // of in, counted
	store.Writer
	store.Locker
	store.Inspector
	in storetest.Vault

	listing []store.Info // of what is stored, in order: a listing by a store costs as much as what a run does with it

	mu     sync.Mutex
	asked  map[string]int // by what was done with which kind of object
	pages  int            // requests of listings
	listed []string       // prefixes, as often as they were
}

// newCounting counts in front of a store.
func newCounting(in storetest.Vault) *counting {
	c := &counting{in: in}
	around := store.Around(func(ctx context.Context, op store.Op, do func(context.Context) error) error {
		switch op.Name {
		case "versions": // by its pages: see below
		case "inspect": // as the driver for S3 asks: for versioning and for object lock
			c.count("settings", "")
			c.count("settings", "")
		default: // by the method of HTTP
			c.count(map[string]string{"open": "get", "stat": "head", "put": "put", "extend": "lock"}[op.Name], op.Ref.Name)
		}
		if err := do(ctx); err != nil || op.Name != "put" {
			return err
		}
		return c.put(ctx, op.Ref.Name)
	})
	c.Reader, c.Writer, c.Locker, c.Inspector = around.Reader(in), around.Writer(in), around.Locker(in), around.Inspector(in)
	return c
}

func (c *counting) count(op, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = map[string]int{}
	}
	kind, _, _ := strings.Cut(name, "/")
	c.asked[strings.TrimSpace(op+" "+kind)]++
}

// reset forgets what was counted.
func (c *counting) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.pages, c.listed = nil, 0, nil
}

// others gives how many requests were no listings, and how many of which kind.
func (c *counting) others() (n int, kinds string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c.asked)) {
		n += c.asked[k]
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k)
		if c.asked[k] > 1 {
			b.WriteString(" ×" + itoa(c.asked[k]))
		}
	}
	return n, b.String()
}

// stored gives how many objects were.
func (c *counting) stored() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, times := range c.asked {
		if strings.HasPrefix(k, "put ") {
			n += times
		}
	}
	return n
}

func (c *counting) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		n := 0
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.pages += max(1, (n+pageNames-1)/pageNames)
			c.listed = append(c.listed, prefix)
		}()
		for page := range c.listingPages(prefix, after) {
			for _, info := range page {
				n++
				if err := ctx.Err(); err != nil {
					yield(store.Info{}, err)
					return
				}
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

// put notes what was stored under a name. Nothing is stored twice, or deleted.
func (c *counting) put(ctx context.Context, name string) error {
	info, _, err := c.in.Stat(ctx, store.Ref{Name: name})
	if err != nil {
		return err
	}
	info.Latest = true
	c.mu.Lock()
	defer c.mu.Unlock()
	at, _ := slices.BinarySearchFunc(c.listing, name, byName)
	c.listing = slices.Insert(c.listing, at, info)
	return nil
}

func byName(info store.Info, name string) int { return strings.Compare(info.Name, name) }

// listingPages gives the names with a prefix that come after one, a page at a time, as a server does.
func (c *counting) listingPages(prefix, after string) iter.Seq[[]store.Info] {
	return func(yield func([]store.Info) bool) {
		page := make([]store.Info, 0, pageNames)
		for more := true; more; {
			c.mu.Lock()
			at, found := slices.BinarySearchFunc(c.listing, max(prefix, after), byName)
			if found && after >= prefix {
				at++
			}
			rest := c.listing[at:]
			page = append(page[:0], rest[:min(len(rest), pageNames)]...)
			c.mu.Unlock()
			n := slices.IndexFunc(page, func(info store.Info) bool { return !strings.HasPrefix(info.Name, prefix) })
			if more = n < 0 && len(page) == pageNames; n >= 0 {
				page = page[:n]
			}
			if len(page) > 0 {
				after = page[len(page)-1].Name
				more = yield(page) && more
			}
		}
	}
}

// bare lists again what was listed, looking at nothing, and gives the CPU that takes.
func (c *counting) bare() time.Duration {
	began := cpuOfSelf()
	for _, prefix := range c.listed {
		for range c.listingPages(prefix, "") {
		}
	}
	return cpuOfSelf() - began
}
