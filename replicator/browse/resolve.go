package browse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Why a POINT could not be resolved. They are wrapped with what to do next.
var (
	ErrNotFound       = errors.New("no such recovery point")
	ErrAmbiguous      = errors.New("more than one recovery point")
	ErrOnlyIncomplete = errors.New("only incomplete recovery points")
	ErrOnlyEmpty      = errors.New("only marked recovery points")
	ErrSpec           = errors.New("not a POINT: write an ID or the beginning of one, SOURCE@latest, SOURCE@clean, or SOURCE@TIME with TIME as 2026-11-23 or 2026-11-23T12:00:00Z")
)

// minPrefix is the least number of digits of an ID.
const minPrefix = 4

// Resolve gives the point that spec names:
//
//   - an ID, or the beginning of one that is unique in the vault (at least four digits): that point, complete or not;
//   - SOURCE@latest: the newest complete point of the source, by signed time, that is not marked as empty, or acknowledged as that;
//   - SOURCE@clean: the newest complete point of the source without any mark, or whose marks were acknowledged;
//   - SOURCE@TIME: as SOURCE@latest, of the points signed at or before TIME, which is RFC 3339, or a date, which means the end
//     of that day in UTC.
//
// Where a source has only incomplete points (up to TIME) the error is ErrOnlyIncomplete and names the newest; with
// allowIncomplete it is taken. A point whose commit object is lost or damaged is reported and passed over.
//
// Without any descriptor (see [repo.Unvouched]) only a full ID is taken; anything else is repo.ErrNoDescriptor.
func Resolve(ctx context.Context, v View, spec string, allowIncomplete bool) (Point, error) {
	if !v.Repository.Vouched() {
		return v.byFullID(ctx, spec)
	}
	source, when, ok := strings.Cut(spec, "@")
	if !ok {
		return byID(ctx, v, spec)
	}
	if !format.ValidName(source) {
		return Point{}, fmt.Errorf("%.80q: %w", spec, ErrSpec)
	}
	until, err := parseTime(when)
	if err != nil {
		return Point{}, fmt.Errorf("%.80q: %w", spec, ErrSpec)
	}
	listed, err := v.Repository.Points(ctx, v.In, source, v.Report)
	if err != nil {
		return Point{}, err
	}
	v.told = repo.Told{}
	repo.CheckMade(listed, v.Made, source, v.now(), v.told, v.Report)
	if len(listed) == 0 {
		return Point{}, v.noSource(ctx, source)
	}
	all := listed
	listed = slices.DeleteFunc(slices.Clone(listed), func(p repo.Point) bool { return p.Distrusted })
	if len(listed) == 0 {
		return Point{}, fmt.Errorf("%s: %w: all points of %s were signed by a key that is distrusted and arrived after that; their IDs take them all the same", spec, ErrNotFound, source)
	}
	_, earlier, err := v.earlier(ctx, all) // of which none is withheld, trusted or not
	if err != nil {
		return Point{}, err
	}
	oldest := listed[0]
	if !until.IsZero() {
		listed = slices.DeleteFunc(listed, func(p repo.Point) bool { return !p.SignedAt.Before(until) })
	}
	if len(listed) == 0 {
		return Point{}, fmt.Errorf("%s: %w: the oldest point of %s was signed at %s", spec, ErrNotFound, source, oldest.SignedAt.Format(time.RFC3339))
	}
	return v.newest(ctx, spec, listed, earlier, pick{incomplete: allowIncomplete, clean: when == "clean"})
}

// Split takes POINT:PREFIX apart: the longest beginning that is written as a POINT is, and what stands behind the colon after
// it. POINTs hold colons themselves, in times; so may PREFIX. What is written like no POINT is given back whole, for Resolve
// to refuse.
func Split(spec string) (point, prefix string) {
	for end := len(spec); end >= 0; end = strings.LastIndexByte(spec[:end], ':') {
		if isPoint(spec[:end]) {
			return spec[:end], strings.TrimPrefix(spec[end:], ":")
		}
	}
	return spec, ""
}

// isPoint reports whether s is written as a POINT is.
func isPoint(s string) bool {
	source, when, named := strings.Cut(s, "@")
	if !named {
		return isID(s)
	}
	_, err := parseTime(when)
	return format.ValidName(source) && err == nil
}

// isID reports whether s is written as an ID or the beginning of one is.
func isID(s string) bool {
	return len(s) >= minPrefix && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// pick says which points newest may take.
type pick struct {
	incomplete bool // where there is no complete one
	clean      bool // none that has a mark
}

func (k pick) passes(c *format.PointLine) bool {
	return c.Marked(format.MarkEmpty) || k.clean && len(c.Marks) > 0
}

// Records says which records of the vault are to be read: those of the repository's reporters.
func (v View) Records() evidence.Options {
	return evidence.Of(v.In, v.Repository)
}

// passing is passes, but for points that somebody acknowledged: what was acknowledged is read where there is one to pass. Where it cannot
// be read, none was.
func (v View) passing(ctx context.Context, k pick) func(*format.PointLine) bool {
	acked := sync.OnceValue(func() map[format.Hash]bool {
		out := map[format.Hash]bool{}
		acks, err := evidence.Acks(ctx, v.Records())
		if err != nil {
			v.report(format.PrefixReports, err)
		}
		for _, a := range acks {
			out[a.Point] = true
		}
		return out
	})
	return func(c *format.PointLine) bool { return k.passes(c) && !acked()[c.ID] }
}

// newest gives the newest complete one of points, which are in order of time, or the newest incomplete one. Marked ones are
// passed over.
// Of what a points list says of them only those are read that may be taken, or named.
func (v View) newest(ctx context.Context, spec string, points []repo.Point, earlier repo.Earlier, k pick) (Point, error) {
	var incomplete, marked *Point
	passes := v.passing(ctx, k)
	spoilt, passed := 0, 0
	for _, p := range slices.Backward(points) {
		if line, ok := earlier[p.ID]; ok && passes(&line) && marked != nil {
			passed++
			continue
		} else if ok && !passes(&line) && line.Status != format.StatusComplete && incomplete != nil {
			continue
		}
		got, err := v.read(ctx, p)
		switch {
		case err != nil:
			return Point{}, err
		case got.Doubt != nil:
			v.distrust(got)
			spoilt++
		case got.Err != nil:
			v.report(p.Name, got.Err)
			spoilt++
		case passes(got.Line):
			if passed++; marked == nil {
				marked = &got
			}
		case got.Complete():
			v.passedOver(passed, marked)
			return got, nil
		case incomplete == nil:
			incomplete = &got
		}
	}
	switch {
	case incomplete != nil && k.incomplete:
		v.passedOver(passed, marked)
		return *incomplete, nil
	case incomplete != nil:
		return Point{}, fmt.Errorf("%s: %w; the newest is %s, signed at %s, with %d of %d entries missing: give its ID or --allow-incomplete to take it",
			spec, ErrOnlyIncomplete, incomplete.ID, incomplete.SignedAt.Format(time.RFC3339), incomplete.Commit.Missing, incomplete.Commit.Entries)
	case marked != nil:
		return Point{}, fmt.Errorf("%s: %w (%s); the newest is %s, signed at %s: give its ID to take it", spec, ErrOnlyEmpty,
			strings.Join(marked.Commit.Marks, ", "), marked.ID, marked.SignedAt.Format(time.RFC3339))
	}
	return Point{}, fmt.Errorf("%s: %w: %d points cannot be read or are not trusted; run `holdfast verify`", spec, ErrNotFound, spoilt)
}

// distrust reports a point that is passed over for what it says of itself.
func (v View) distrust(p Point) {
	if v.Report != nil {
		v.Report(repo.Finding{Kind: repo.Tampered, Name: p.Name, Detail: fmt.Sprintf("passed over: %v", p.Doubt)})
	}
}

func (v View) passedOver(n int, newest *Point) {
	if n > 0 && v.PassedOver != nil {
		v.PassedOver(n, *newest)
	}
}

// parseTime gives the moment before which a point must be signed; zero for latest and clean. Signed times are whole seconds.
func parseTime(s string) (time.Time, error) {
	if s == "latest" || s == "clean" {
		return time.Time{}, nil
	}
	t, err := ParseMoment(s)
	if err != nil {
		return time.Time{}, err
	}
	return t.Add(1), nil // at or before
}

// ParseMoment reads a time as every flag and POINT means it: RFC 3339, or a date, which is its last second in UTC.
func ParseMoment(s string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Second), nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

func byID(ctx context.Context, v View, spec string) (Point, error) {
	if short := spec != "" && len(spec) < minPrefix; short && strings.Trim(spec, "0123456789abcdef") == "" {
		return Point{}, fmt.Errorf("%q is too short: of an ID give at least %d digits: %w", spec, minPrefix, ErrSpec)
	}
	if !isID(spec) {
		return Point{}, fmt.Errorf("%.80q: %w", spec, ErrSpec)
	}
	listed, err := v.Repository.Points(ctx, v.In, "", v.Report)
	if err != nil {
		return Point{}, err
	}
	var found []repo.Point
	for _, p := range listed {
		if strings.HasPrefix(p.ID.String(), spec) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		if v.Repository.Ended() != nil && len(spec) == 2*len(format.Hash{}) {
			return v.behindTheEnd(ctx, spec)
		}
		return Point{}, fmt.Errorf("%s: %w; `holdfast points` lists them", spec, ErrNotFound)
	case 1:
		got, err := v.read(ctx, found[0])
		if err == nil {
			err = got.Err
		}
		return got, err
	}
	const most = 5
	var names []string
	for _, p := range found[:min(len(found), most)] {
		names = append(names, fmt.Sprintf("%s (%s, %s)", p.ID, p.Source, p.SignedAt.Format(time.RFC3339)))
	}
	if len(found) > most {
		names = append(names, fmt.Sprintf("and %d more", len(found)-most))
	}
	return Point{}, fmt.Errorf("%s: %w begins with it; give more digits: %s", spec, ErrAmbiguous, strings.Join(names, ", "))
}

// byFullID gives the point of an ID where nothing but the ID vouches for it.
func (v View) byFullID(ctx context.Context, spec string) (Point, error) {
	id, err := format.ParseHash(spec)
	if err != nil {
		return Point{}, fmt.Errorf("%.80q: %w, so that only a full ID is taken, all 64 digits of it, as your paper, a report or the output of the run has it",
			spec, repo.ErrNoDescriptor)
	}
	p, c, err := v.Repository.Named(ctx, v.In, id, v.Report)
	if p.Name == "" && errors.Is(err, repo.ErrMissing) {
		return Point{}, fmt.Errorf("%s: %w here under that ID; compare all its digits with the paper", spec, ErrNotFound)
	}
	got, err := known(ctx, p, c, err)
	if err == nil {
		err = got.Err
	}
	return got, err
}

// behindTheEnd gives the point of a full ID that no key signed which this vault shows: the change of keys that lists the key may be the one
// that cannot be used. The ID vouches for the point, and nothing else does.
func (v View) behindTheEnd(ctx context.Context, spec string) (Point, error) {
	got, err := v.byFullID(ctx, spec)
	if err != nil {
		return got, err
	}
	got.Distrusted = true
	got.Doubt = fmt.Errorf("no key that this vault shows signed it, and nothing vouches for it but its ID; %w", v.Repository.Ended())
	return got, nil
}

// noSource says which sources there are.
func (v View) noSource(ctx context.Context, source string) error {
	listed, err := v.Repository.Points(ctx, v.In, "", nil)
	if err != nil {
		return err
	}
	var names []string
	for _, p := range listed {
		if !slices.Contains(names, p.Source) {
			names = append(names, p.Source)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: %w: this vault has none yet; `holdfast run` makes them", source, ErrNotFound)
	}
	slices.Sort(names)
	return fmt.Errorf("%s: %w: no point of that source is in this vault; there are points of %s", source, ErrNotFound, strings.Join(names, ", "))
}
