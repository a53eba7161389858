package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/drill"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// sample is some points that are to be kept, chosen by chance: neither the vault nor who stored them knows before which they are.
type sample struct {
	seed       uint64
	population int
	picked     []picked // in order of rank
}

type picked struct {
	rank  uint64
	ref   store.Ref
	until time.Time
	id    format.Hash
}

func (s *sample) add(p browse.Point, now time.Time) {
	if p.Line.Mode == "" || !p.Line.RetainUntil.After(now) {
		return // it was to have no lock, or is over
	}
	s.population++
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, s.seed), p.ID[:]...))
	x := picked{binary.BigEndian.Uint64(sum[:8]), store.Ref{Name: p.Name, Version: p.Version}, p.Line.RetainUntil.Time, p.ID}
	i, _ := slices.BinarySearchFunc(s.picked, x, func(a, b picked) int { return cmp.Compare(a.rank, b.rank) })
	if i == Sampled {
		return
	}
	if s.picked = slices.Insert(s.picked, i, x); len(s.picked) > Sampled {
		s.picked = s.picked[:Sampled]
	}
}

// locks reads back the locks of the sample.
func (l *looking) locks(ctx context.Context) error {
	im := &l.v.Immutability
	im.Population, im.Seed = l.sample.population, fmt.Sprintf("%016x", l.sample.seed)
	if !l.p.Locks {
		return nil
	}
	got := make([]store.Retention, len(l.sample.picked))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, x := range l.sample.picked {
		g.Go(func() (err error) {
			_, got[i], err = l.p.View.In.Stat(gctx, x.ref)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.unknown("immutability", "the locks of points", "they cannot be read back: %v", err)
		return nil
	}
	var early, late time.Time
	for i, x := range l.sample.picked {
		im.Sampled++
		r := got[i]
		mode := cmp.Or(string(r.Mode), "none")
		if im.Mode != "" && im.Mode != mode {
			mode = "mixed"
		}
		im.Mode = mode
		if r.Mode == store.ModeNone || r.Until.Before(x.until) {
			im.Short++
			im.ShortOnes = append(im.ShortOnes, x.id.String())
		}
		if r.Mode == store.ModeNone {
			continue
		}
		if early.IsZero() || r.Until.Before(early) {
			early = r.Until
		}
		if r.Until.After(late) {
			late = r.Until
		}
	}
	im.Earliest, im.Latest = stamp(early), stamp(late)
	return nil
}

const maxPage = 8 << 20 // bytes of a drill's page that are read

// attacks reads the page of the newest drill that left one: what was asked, and the vendor's number of each request.
func (l *looking) attacks(ctx context.Context) error {
	c := &l.v.Checks
	for _, d := range c.Drills {
		if d.Page == "" || !strings.HasPrefix(d.Page, drill.Prefix) {
			continue
		}
		page, err := l.page(ctx, d.Page)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || page.ID != d.ID {
			l.unknown("separation", "what the drill of "+d.At+" asked and was answered", "%s cannot be read, or is another one: %v", d.Page, err)
			continue
		}
		c.AttacksOf = d.Page
		for _, a := range page.Attacks[:min(len(page.Attacks), maxFound)] {
			x := Attack{Check: clip(a.Check), Severity: clip(a.Severity), Seen: clip(a.Seen)}
			if n := len(a.Evidence); n > 0 {
				e := a.Evidence[n-1]
				x.Status, x.Code, x.RequestID, x.At = e.Status, clip(e.Code), clip(e.RequestID), clip(e.Time)
			}
			c.Attacks = append(c.Attacks, x)
		}
		return nil
	}
	return nil
}

// page reads a drill's page: the oldest version, as anybody who may write could put another on top.
func (l *looking) page(ctx context.Context, name string) (r drill.Report, err error) {
	var first store.Info
	for info, err := range l.p.View.In.Versions(ctx, name, "") {
		if err != nil {
			return r, err
		}
		if info.Name == name && !info.DeleteMarker {
			first = info
		}
	}
	if first.Name == "" {
		return r, store.ErrNotFound
	}
	if first.Size > maxPage {
		return r, format.ErrBounds
	}
	body, err := l.p.View.In.Open(ctx, first.Ref, 0, -1)
	if err != nil {
		return r, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxPage))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}
