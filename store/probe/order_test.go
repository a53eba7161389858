package probe_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
)

// ordered is a vault that takes canaries and lists them in an order of its own.
type ordered struct {
	attack.Canaries
	store.Reader
	names []string
	order func(a, b string) int
	fails error
}

func (o *ordered) Put(_ context.Context, name string, _ []byte, opts attack.PutOptions) attack.Answer {
	if err := errors.Join(attack.CheckName(name), attack.CheckLock(opts.Lock, time.Now())); err != nil {
		return attack.Answer{Err: err}
	}
	o.names = append(o.names, name)
	return attack.Answer{Status: 200, Version: "1"}
}

func (o *ordered) Versions(_ context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return store.Behind(func(yield func(store.Info, error) bool) {
		slices.SortFunc(o.names, o.order)
		for _, n := range o.names {
			if strings.HasPrefix(n, prefix) && !yield(store.Info{Ref: store.Ref{Name: n, Version: "1"}}, o.fails) {
				return
			}
		}
	}, after)
}

// TestOrder: every order that servers are known to keep is told from that of bytes; no answer is no order.
func TestOrder(t *testing.T) {
	words := func(s string) []string { return strings.Split(s, "/") }
	for name, c := range map[string]struct {
		order func(a, b string) int
		fails error
		is    error
	}{
		"bytes":         {strings.Compare, nil, nil},
		"path by path":  {func(a, b string) int { return slices.Compare(words(a), words(b)) }, nil, probe.ErrOrder},
		"without case":  {func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }, nil, probe.ErrOrder},
		"by length":     {func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }, nil, probe.ErrOrder},
		"backwards":     {func(a, b string) int { return strings.Compare(b, a) }, nil, probe.ErrOrder},
		"goes back":     {strings.Compare, store.ErrListing, probe.ErrOrder},
		"does not list": {strings.Compare, store.ErrDenied, store.ErrDenied},
	} {
		o := &ordered{order: c.order, fails: c.fails}
		if err := probe.Order(t.Context(), o, o, time.Now()); !errors.Is(err, c.is) || (err == nil) != (c.is == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
