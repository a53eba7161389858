package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxSegments is how many placements objects are put in order at once.
const maxSegments = 50_000

// maxHeldLines is how many lines of placements are held until those come that arrived before them; what is beyond is read twice.
const maxHeldLines = 1 << 16

// placementsOf are what one vault's placements objects say.
type placementsOf struct{ *keeper }

// loadPlacements reads the placements objects of the vault that the cache has not seen and no other replaces, in order of
// arrival. Where there are none under the vault's own name it was called otherwise before, or is a copy of another: then what
// is said under other names is read: versions that are another vault's are not found in this one, and their objects are looked
// for where they are needed. So it is where a vault has no name here, but a URL.
func (k *placementsOf) loadPlacements(ctx context.Context, r *Repository, l *listed) (err error) {
	found := false
	if format.ValidName(k.vault.Name) {
		found, err = k.loadPlacementsUnder(ctx, r, format.PrefixPlacements+k.vault.Name+"/", l)
	}
	if err == nil && !found {
		_, err = k.loadPlacementsUnder(ctx, r, format.PrefixPlacements, l)
	}
	return err
}

// loadPlacementsUnder reads those under a prefix, and tells whether there are any of the repository's. Junk is told by its
// name and never read.
func (k *placementsOf) loadPlacementsUnder(ctx context.Context, r *Repository, prefix string, l *listed) (found bool, err error) {
	var batch []segment
	seen, listed := "", []string{}
	versions := k.vault.Read.Versions(ctx, prefix, "")
	if l != nil {
		versions, found = l.changed(prefix)
		for _, info := range l.unchanged(prefix) {
			listed = append(listed, info.Name)
		}
	}
	loaded := k.loadedUnder(prefix)
	defer loaded.close()
	for info, err := range versions {
		if err != nil {
			return found, fmt.Errorf("list placements: %w", err)
		}
		if last := len(batch) - 1; info.Name == seen {
			if last >= 0 && batch[last].info.Name == info.Name && !info.DeleteMarker {
				batch[last].arrived = info.Modified
			}
			continue
		}
		seen = info.Name
		done, err := loaded.has(info.Name)
		if err != nil {
			return found, err
		}
		vouch := r.Trust().vouchPlacements
		if done { // which it is not before its signature was verified
			vouch = format.ParsePlacementsName
		}
		if _, err := vouch(info.Name); err != nil {
			k.report.send(Tampered, info.Name, "%v", err)
			continue
		}
		found = true
		if len(listed) < maxSegments {
			listed = append(listed, info.Name)
		}
		if done {
			continue
		}
		if len(batch) >= maxSegments {
			if err := k.loadBatch(ctx, r, batch); err != nil {
				return found, err
			}
			batch = batch[:0]
		}
		batch = append(batch, segment{info, info.Modified})
	}
	if k.listed = listed; len(listed) >= maxSegments {
		k.listed = nil
	}
	return found, k.loadBatch(ctx, r, batch)
}

// loadedNames are the segments that were loaded, asked for beside a listing of them.
type loadedNames struct {
	k      *keeper
	prefix string
	next   func() (string, error, bool) // nil: nothing was asked for
	stop   func()
	head   string
	err    error
	more   bool
	last   string // that was asked for
}

func (k *placementsOf) loadedUnder(prefix string) *loadedNames {
	return &loadedNames{k: k.keeper, prefix: prefix}
}

func (l *loadedNames) close() {
	if l.stop != nil {
		l.stop()
	}
}

// has reports whether a segment was loaded. Names come in order; one that does not is looked up.
func (l *loadedNames) has(name string) (bool, error) {
	if name < l.last {
		return l.k.cache.Segments.Loaded(l.k.vault.Name, name)
	}
	if l.next == nil {
		l.next, l.stop = iter.Pull2(l.k.cache.Segments.From(l.k.vault.Name, l.prefix, name))
		l.head, l.err, l.more = l.next()
	}
	for l.last = name; l.more && l.err == nil && l.head < name; {
		l.head, l.err, l.more = l.next()
	}
	return l.err == nil && l.more && l.head == name, l.err
}

// told is a placements object that was read and proved.
type told struct {
	segment
	id       format.PlacementsID
	got      store.Info
	bytes    int64
	replaces []format.Hash
	lines    []format.Placement
	held     bool // lines are here; else they are read once more
}

// replacement is a placements object that others replace: by its hash, and only those of its own vault's name.
type replacement struct {
	vault string
	sum   format.Hash
}

// loadBatch reads placements objects: the one written last first, so that what it replaces need not be read. What they say
// is taken in order of arrival, since of what a vault says the first counts.
func (k *placementsOf) loadBatch(ctx context.Context, r *Repository, batch []segment) error {
	all, replaced, err := k.unreplaced(ctx, r, batch)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b *told) int { return a.arrived.Compare(b.arrived) })
	taken := map[string]bool{}
	for _, t := range all {
		if _, done := replaced[replacement{t.id.Vault, t.id.Sum}]; done {
			continue
		}
		if !t.held {
			again, err := r.placements(ctx, k.vault.Read, t.segment, k.report)
			if err != nil {
				if err := k.dismiss(ctx, t.info, err); err != nil {
					return err
				}
				continue
			}
			t.lines = again.lines
		}
		if err := k.takePlacements(t); err != nil {
			return err
		}
		taken[t.info.Name], t.lines = true, nil
	}
	// What is replaced is not read by later runs either, once all is known that is said in its place.
	var done []string
	for _, g := range batch {
		id, err := format.ParsePlacementsName(g.info.Name)
		if err != nil {
			return err
		}
		if by, ok := replaced[replacement{id.Vault, id.Sum}]; ok && taken[by] {
			done = append(done, g.info.Name)
		}
	}
	if len(done) == 0 {
		return nil
	}
	return k.cache.Segments.MarkLoaded(k.vault.Name, done...)
}

// unreplaced reads and proves those of a batch that no other one replaces. Only what was proved replaces anything: so a fold
// that is lost, damaged or not the repository's leaves what it replaced. The map tells by whose name each is replaced.
func (k *placementsOf) unreplaced(ctx context.Context, r *Repository, batch []segment) (all []*told, replaced map[replacement]string, err error) {
	type dated struct {
		segment
		id format.PlacementsID
	}
	order := make([]dated, 0, len(batch))
	for _, g := range batch {
		id, err := format.ParsePlacementsName(g.info.Name)
		if err != nil {
			return nil, nil, err
		}
		order = append(order, dated{g, id})
	}
	slices.SortStableFunc(order, func(a, b dated) int {
		return cmp.Or(b.id.Written.Compare(a.id.Written.Time), b.arrived.Compare(a.arrived))
	})
	replaced, held := map[replacement]string{}, 0
	for _, g := range order {
		if _, done := replaced[replacement{g.id.Vault, g.id.Sum}]; done {
			continue
		}
		if junk, err := k.junk(g.info); err != nil {
			return nil, nil, err
		} else if junk {
			continue
		}
		t, err := r.placements(ctx, k.vault.Read, g.segment, k.report)
		if errors.Is(err, errDistrusted) {
			err = k.cache.Segments.MarkLoaded(k.vault.Name, g.info.Name)
			t = nil
		} else if err != nil {
			err = k.dismiss(ctx, g.info, err)
			t = nil
		}
		if err != nil {
			return nil, nil, err
		}
		if t == nil {
			continue
		}
		for _, sum := range t.replaces {
			replaced[replacement{t.id.Vault, sum}] = t.info.Name
		}
		if t.held = held+len(t.lines) <= maxHeldLines; t.held {
			held += len(t.lines)
		} else {
			t.lines = nil
		}
		all = append(all, t)
	}
	return all, replaced, nil
}

// takePlacements remembers what a placements object says, and lets go of those it replaces.
func (k *placementsOf) takePlacements(t *told) error {
	name := t.info.Name
	if err := k.takeHearsay(append(slices.Clone(t.lines), format.Placement{Name: name, Version: t.got.Version, Size: t.got.Size})); err != nil {
		return err
	}
	says := make([]string, len(t.lines))
	for i, p := range t.lines {
		says[i] = p.Name
	}
	if err := k.cache.Said.Put(k.vault.Name, cache.Said{Name: name, Bytes: t.bytes}, says, t.replaces); err != nil {
		return err
	}
	if err := k.displace(t, says); err != nil {
		return err
	}
	return k.cache.Segments.MarkLoaded(k.vault.Name, name, heardMark(name))
}

// displace lets go of placements objects that were known before another came that replaces them: a fold of another machine, or
// of this one before its cache was set back. What is known here is believed before what is told: one that leaves out anything
// of what the other said replaces nothing.
func (k *placementsOf) displace(t *told, says []string) error {
	if len(t.replaces) == 0 {
		return nil
	}
	var said map[string]bool
	var over []string
	for old, err := range k.cache.Said.By(k.vault.Name) {
		if err != nil {
			return err
		}
		id, err := format.ParsePlacementsName(old.Name)
		if err != nil || id.Vault != t.id.Vault || !slices.Contains(t.replaces, id.Sum) {
			continue
		}
		if said == nil {
			said = make(map[string]bool, len(says))
			for _, n := range says {
				said[n] = true
			}
		}
		whole, err := k.saysAll(old.Name, said)
		if err != nil {
			return err
		}
		if whole {
			over = append(over, old.Name)
		}
	}
	return k.letGoOfPlacements(over)
}

// saysAll reports whether what still holds of an object's lines is among others.
func (k *placementsOf) saysAll(object string, said map[string]bool) (bool, error) {
	names, _, err := k.cache.Said.In(k.vault.Name, object)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if said[n] {
			continue
		}
		if _, ok, err := k.placement(n); err != nil || ok {
			return false, err
		}
	}
	return true, nil
}

// letGoOfPlacements forgets placements objects, but not that they were read: their locks are not kept up any more.
func (k *placementsOf) letGoOfPlacements(objects []string) error {
	if len(objects) == 0 {
		return nil
	}
	if err := k.cache.Places.Forget(k.vault.Name, objects...); err != nil {
		return err
	}
	return k.cache.Said.Drop(k.vault.Name, objects...)
}

// placements reads a placements object and proves it.
func (r *Repository) placements(ctx context.Context, in store.Reader, g segment, report Report) (*told, error) {
	id, err := format.ParsePlacementsName(g.info.Name)
	if err != nil {
		return nil, err
	}
	switch ok, distrusted := r.Trust().signed(placementsSignature(r, id), g.arrived); {
	case distrusted:
		return nil, errDistrusted
	case !ok:
		return nil, format.ErrSignature
	}
	body, got, err := whole(ctx, in, g.info.Ref, id.Sum, format.MaxPack, report)
	if err != nil {
		return nil, err
	}
	t := &told{segment: g, id: id, got: got}
	var d format.PlacementsDecoder
	err = scanBytes(ctx, body, func(plain []byte) error {
		t.bytes += int64(len(plain))
		return d.Frame(plain)
	})
	h := &d.Header
	switch {
	case err != nil:
	case d.Done() != nil:
		err = d.Done()
	case h.Repository != r.ID:
		err = fmt.Errorf("placements of another repository: %w", format.ErrMalformed)
	case h.Vault != id.Vault:
		err = fmt.Errorf("of vault %s, as it says itself: %w", h.Vault, format.ErrMalformed)
	case !h.Written.Equal(id.Written.Time):
		err = fmt.Errorf("written at %s, as it says itself: %w", h.Written.Format(time.RFC3339Nano), format.ErrMalformed)
	}
	if err != nil {
		return nil, foreign{err}
	}
	t.replaces, t.lines = h.Replaces, placedAt(d.Lines, flat.Named)
	return t, nil
}

// VouchPlacements tells a placements object of the repository from junk by its name alone: form and signature. Junk costs
// no read.
func (t Trust) VouchPlacements(name string) error {
	_, err := t.vouchPlacements(name)
	return err
}

func (t Trust) vouchPlacements(name string) (format.PlacementsID, error) {
	id, err := format.ParsePlacementsName(name)
	if err != nil {
		return id, fmt.Errorf("not the name of a placements object: %w", err)
	}
	if ok, _ := t.signed(placementsSignature(t.r, id), time.Time{}); !ok {
		return id, fmt.Errorf("no key of this repository signed it: %w", format.ErrSignature)
	}
	return id, nil
}

// foreign is what is wrong with bytes that have the hash in their name.
type foreign struct{ error }

func (f foreign) Unwrap() error { return f.error }

// CheckPlacements reports what is wrong with one placements object of a vault's listing: bytes, form or signature.
func (t Trust) CheckPlacements(ctx context.Context, in store.Reader, info store.Info) error {
	_, err := t.r.placements(ctx, in, segment{info, info.Modified}, nil)
	if errors.Is(err, errDistrusted) {
		return nil
	}
	return err
}
