package main

import (
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// pageNames is how many names the answer to one listing request holds, at most vendors.
const pageNames = 1000

// counting is a vault that counts the requests it is asked, as a vendor would: a listing is one for each thousand names.
type counting struct {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector

	mu     sync.Mutex
	asked  map[string]int // by what was done with which kind of object
	pages  int            // requests of listings
	listed []string       // prefixes, as often as they were
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

func (c *counting) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	c.count("get", ref.Name)
	return c.Reader.Open(ctx, ref, off, n)
}

func (c *counting) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	c.count("head", ref.Name)
	return c.Reader.Stat(ctx, ref)
}

func (c *counting) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	c.count("put", name)
	return c.Writer.Put(ctx, name, body, size, o)
}

func (c *counting) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	c.count("lock", ref.Name)
	return c.Locker.Extend(ctx, ref, to)
}

func (c *counting) Inspect(ctx context.Context) (store.Facts, error) {
	c.count("settings", "") // as the driver for S3 asks: for versioning and for object lock
	c.count("settings", "")
	return c.Inspector.Inspect(ctx)
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
		for info, err := range c.Reader.Versions(ctx, prefix, after) {
			n++
			if !yield(info, err) {
				return
			}
		}
	}
}

// bare lists again what was listed, looking at nothing, and gives the CPU that takes.
func (c *counting) bare(ctx context.Context) (time.Duration, error) {
	began := cpuOfSelf()
	for _, prefix := range c.listed {
		for _, err := range c.Reader.Versions(ctx, prefix, "") {
			if err != nil {
				return 0, err
			}
		}
	}
	return cpuOfSelf() - began, nil
}
