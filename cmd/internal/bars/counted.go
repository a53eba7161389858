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
	"github.com/holdfast-backup/holdfast/store/memstore"
)

// pageNames is how many names the answer to one listing request holds, at most vendors.
const pageNames = 1000

// counting is a vault that counts the requests it is asked, as a vendor would: a listing is one for each thousand names.
type counting struct {
	store.Reader // of mem, counted
	store.Writer
	store.Locker
	store.Inspector
	mem *memstore.Store

	mu     sync.Mutex
	asked  map[string]int // by what was done with which kind of object
	pages  int            // requests of listings
	listed []string       // prefixes, as often as they were
}

// newCounting counts in front of a store.
func newCounting(mem *memstore.Store) *counting {
	c := &counting{mem: mem}
	around := store.Around(func(ctx context.Context, op store.Op, do func(context.Context) error) error {
		switch op.Name {
		case "versions": // by its pages: see below
		case "inspect": // as the driver for S3 asks: for versioning and for object lock
			c.count("settings", "")
			c.count("settings", "")
		default: // by the method of HTTP
			c.count(map[string]string{"open": "get", "stat": "head", "put": "put", "extend": "lock"}[op.Name], op.Ref.Name)
		}
		return do(ctx)
	})
	c.Reader, c.Writer, c.Locker, c.Inspector = around.Reader(mem), around.Writer(mem), around.Locker(mem), around.Inspector(mem)
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
		for _, err := range c.mem.Versions(ctx, prefix, "") {
			if err != nil {
				return 0, err
			}
		}
	}
	return cpuOfSelf() - began, nil
}
