package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
)

// ErrOrder: the vault does not list names in the order of their bytes. Every listing longer than a page would fail there.
var ErrOrder = errors.New("the vault does not list names in the order of their bytes")

// orderNames are names that servers put in different orders: path by path, without case, by number, by hash.
var orderNames = [...]string{"10", "9", "B", "Z/a", "a-b", "a.b", "a/b", "z"}

// Order stores a few canaries, locked for minutes, and lists them. list gives a page of two names at a time, so that the
// order is the server's. nil: they came in order; ErrOrder: they did not; anything else tells nothing of the order.
func Order(ctx context.Context, a attack.Canaries, list store.Reader, now time.Time) error {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	dir := attack.Prefix + hex.EncodeToString(id[:]) + "/"
	lock := store.Retention{Mode: store.Compliance, Until: now.Add(defaultLock).Truncate(time.Second)}
	for _, n := range orderNames {
		if ans := a.Put(ctx, dir+n, content("order"), attack.PutOptions{Lock: lock}); !ans.Done() {
			return fmt.Errorf("store a canary to see the order of listings: %s", ans.Outcome())
		}
	}
	var got []string
	for info, err := range list.Versions(ctx, dir, "") {
		switch {
		case errors.Is(err, store.ErrListing):
			return fmt.Errorf("%w: %w", ErrOrder, err)
		case err != nil:
			return err
		}
		got = append(got, info.Name[len(dir):])
	}
	if !slices.IsSorted(got) {
		return fmt.Errorf("%w: %q", ErrOrder, got)
	}
	if len(slices.Compact(got)) != len(orderNames) {
		return fmt.Errorf("%w: of %q it listed %q", ErrOrder, orderNames, got)
	}
	return nil
}

// order says whether names are listed in order, where the vault can be listed in small pages.
func (r *run) order(ctx context.Context) {
	const check = "list-order"
	if r.Paged == nil || !r.locks {
		return // what stores no canary is said already
	}
	switch err := Order(ctx, r.Attacker, r.Paged, r.now()); {
	case errors.Is(err, ErrOrder):
		r.add(check, Critical, "use another vendor: a repository that grows beyond a page of a listing cannot be read there", err.Error())
	case err != nil:
		r.unknown(check, "no clear answer: "+err.Error())
	default:
		r.add(check, OK, "", "names are listed in the order of their bytes")
	}
}
