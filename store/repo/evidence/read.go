package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Found is a record that a key of the repository signed, as it lies in a vault.
type Found struct {
	format.RecordID
	Name    string
	Version string    // the oldest version with the right bytes
	Arrived time.Time // the vault's time of the oldest version of the name
	Record  *format.Record
	Newer   bool // a later version wrote it: its head alone is known
}

// FindingKind says what is wrong with a series of records.
type FindingKind string

// What a reader of records finds.
const (
	Missing    FindingKind = "missing"    // a number that nothing has, or a record that cannot be read
	Forked     FindingKind = "forked"     // two records of one number
	Unchained  FindingKind = "unchained"  // a record that does not name the one before
	Overlaid   FindingKind = "overlaid"   // other bytes, or a delete marker, lie on a record
	Misleading FindingKind = "misleading" // a record that says something else than its name
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind   FindingKind
	Name   string // of the record it is about, or of the one behind the gap
	Detail string
}

// Options of Read.
type Options struct {
	Vault      store.Reader
	Repository format.Hash
	Key        Keyring
	None       bool                    // the repository never had a reporter: nothing is asked
	Reporter   string                  // of this reporter alone; empty: of all
	Report     func(Finding)           // what is wrong; may be nil
	Gaps       func(Finding)           // of a listing: what the names show, numbers that nothing has or two records have; may be nil
	Each       func(Found) error       // each record, by reporter, series and number; may be nil
	Memory     func(FoundSeries) error // the last record of each series, once it was read; may be nil
}

// FoundSeries is one series as a whole.
type FoundSeries struct {
	Reporter string
	Series   format.Time
	Records  int
	Last     format.RecordID
	Time     format.Time // of the last record
}

// Read goes through the records of a vault and checks each series. Names that no key signed are no records and cost no read.
// Memory does not grow with their number. What cannot be read is named and passed by; an error is about the vault as a whole.
func Read(ctx context.Context, o Options) error {
	r := &reading{ctx: ctx, o: o}
	if err := r.names(r.name); err != nil {
		return err
	}
	return r.end()
}

// names gives each name with its versions, the newest first. They are valid during the call only.
func (r *reading) names(take func([]store.Info) error) error {
	prefix := format.PrefixReports
	if r.o.Reporter != "" {
		prefix += r.o.Reporter + "/"
	}
	var name []store.Info
	for info, err := range store.InOrder(r.o.Vault.Versions(r.ctx, prefix, ""), nil) {
		if err != nil {
			return fmt.Errorf("list records: %w", err)
		}
		if len(name) > 0 && name[0].Name != info.Name {
			if err := take(name); err != nil {
				return err
			}
			name = name[:0]
		}
		if len(name) == maxVersions { // the oldest are what counts
			name = append(name[:0], name[1:]...)
		}
		name = append(name, info)
	}
	if len(name) > 0 {
		return take(name)
	}
	return nil
}

// maxVersions is how many versions of a name are remembered, the oldest ones.
const maxVersions = 64

// reading is one pass over a vault's records.
type reading struct {
	ctx  context.Context
	o    Options
	now  FoundSeries // the series that is being read
	open bool
}

// name takes the versions of one name.
func (r *reading) name(versions []store.Info) error {
	id, ok := r.signed(versions)
	if !ok {
		return nil
	}
	if err := r.follows(id, versions[0].Name); err != nil {
		return err
	}
	rec, from, overlaid, err := r.record(id, versions)
	if err != nil {
		if !passable(r.ctx, err) {
			return fmt.Errorf("read %s: %w", versions[0].Name, err)
		}
		r.find(Missing, versions[0].Name, "it cannot be read: %v", err)
		r.takes(id, nil)
		return nil
	}
	if overlaid > 0 {
		r.find(Overlaid, versions[0].Name, "%d versions with other bytes or delete markers lie on it", overlaid)
	}
	if rec.Repository != r.o.Repository || rec.Reporter != id.Reporter || !rec.Series.Equal(id.Series.Time) || rec.Number != id.Number {
		r.find(Misleading, versions[0].Name, "it says %s, series %s, number %d", rec.Reporter, rec.Series.Format(time.RFC3339), rec.Number)
	}
	r.chained(id, rec, versions[0].Name)
	r.takes(id, rec)
	if r.o.Each == nil {
		return nil
	}
	return r.o.Each(found(id, versions, from, rec))
}

// found is a record that was read from a version of its name.
func found(id format.RecordID, versions []store.Info, version string, rec *format.Record) Found {
	return Found{RecordID: id, Name: versions[0].Name, Version: version, Arrived: arrived(versions), Record: rec, Newer: len(rec.Body) == 0}
}

// signed takes a name apart, if a key of the repository signed it. Anybody can put others there.
func (r *reading) signed(versions []store.Info) (format.RecordID, bool) {
	id, err := format.ParseRecordName(versions[0].Name)
	if err != nil {
		return id, false
	}
	pub, ok := r.o.Key(id.Reporter, id.Hint, arrived(versions))
	return id, ok && attest.Verify(pub, attest.Record, id.Message(r.o.Repository), id.Signature)
}

// arrived is when the first version of a name came.
func arrived(versions []store.Info) time.Time { return versions[len(versions)-1].Modified }

// follows looks whether the name is the next one of its series.
func (r *reading) follows(id format.RecordID, name string) error {
	if !r.open || r.now.Reporter != id.Reporter || !r.now.Series.Equal(id.Series.Time) {
		if err := r.end(); err != nil {
			return err
		}
		r.now, r.open = FoundSeries{Reporter: id.Reporter, Series: id.Series, Last: format.RecordID{Number: -1}}, true
	}
	switch gap := id.Number - r.now.Last.Number; {
	case gap == 0:
		r.find(Forked, name, "number %d is there twice, with different bytes: the reporter's key is in two hands, or its machine was set back", id.Number)
	case gap == 2:
		r.find(Missing, name, "the record before it, number %d, is not there", id.Number-1)
	case gap > 2:
		r.find(Missing, name, "the records before it, numbers %d to %d, are not there", r.now.Last.Number+1, id.Number-1)
	}
	return nil
}

// chained looks whether a record names the one before, where that is there.
func (r *reading) chained(id format.RecordID, rec *format.Record, name string) {
	if id.Number == r.now.Last.Number+1 && id.Number > 0 && rec.Previous != r.now.Last.Sum {
		r.find(Unchained, name, "it names %.16s.. as the record before, which is %.16s..", rec.Previous, r.now.Last.Sum)
	}
}

func (r *reading) takes(id format.RecordID, rec *format.Record) {
	r.now.Last = id
	r.now.Records++
	if rec != nil {
		r.now.Time = rec.Time
	}
}

// end closes the series that was read.
func (r *reading) end() error {
	if !r.open || r.o.Memory == nil {
		return nil
	}
	return r.o.Memory(r.now)
}

func (r *reading) find(kind FindingKind, name, detail string, args ...any) {
	if r.o.Report != nil {
		r.o.Report(finding(kind, name, detail, args...))
	}
}

func finding(kind FindingKind, name, detail string, args ...any) Finding {
	return Finding{kind, name, fmt.Sprintf(detail, args...)}
}

// record gives what is in the oldest version with the right bytes, and how many versions with others there are.
func (r *reading) record(id format.RecordID, versions []store.Info) (rec *format.Record, version string, overlaid int, err error) {
	var why error
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if v.DeleteMarker {
			overlaid++
			continue
		}
		if rec != nil && v.Size != versions[len(versions)-1].Size {
			overlaid++
			continue
		}
		b, err := r.bytes(v)
		if err != nil && !passable(r.ctx, err) {
			return nil, "", 0, err
		}
		if err != nil || sumOf(b) != id.Sum {
			overlaid++
			why = errors.Join(why, err)
			continue
		}
		if rec != nil {
			continue // a repeated request
		}
		rec, err = format.DecodeRecord(b)
		if err != nil && !(rec != nil && errors.Is(err, format.ErrNewer)) {
			return nil, "", 0, err
		}
		version = v.Version
	}
	if rec == nil {
		if why == nil {
			why = ErrChanged
		}
		return nil, "", 0, why
	}
	return rec, version, overlaid, nil
}

// bytes reads one version, as far as a record can reach.
func (r *reading) bytes(v store.Info) ([]byte, error) {
	if v.Size > format.MaxRecord {
		return nil, fmt.Errorf("%d bytes: %w", v.Size, format.ErrBounds)
	}
	body, err := r.o.Vault.Open(r.ctx, v.Ref, 0, -1)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(body, format.MaxRecord+1))
	return b, errors.Join(err, body.Close())
}

// passable reports whether an error is about one record alone.
func passable(ctx context.Context, err error) bool {
	return repo.Classify(ctx, err).OfObject() || errors.Is(err, ErrChanged)
}
