package format

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// KindRecord is the second member of a record.
const KindRecord = "record"

// PrefixReports is where records lie, and other evidence beside them.
const PrefixReports = "reports/"

// Bounds on records.
const (
	MaxRecord       = 256 << 10  // bytes of a record
	MaxNewest       = 1 << 10    // points one record may name as the newest
	maxRecordNumber = 99_999_999 // highest number within a series
)

// Record is evidence of one thing that was done: a run, a verification, a drill, an acknowledgement. One reporter numbers
// its records and names in each the one before, so that one which is taken away is missed.
//
// The head is the same in every version of the format. The body belongs to Type.
type Record struct {
	Format     string // this version's; may be left empty when encoding
	Kind       string // KindRecord; may be left empty when encoding
	Requires   []string
	Repository Hash
	Reporter   string
	Series     Time // when the reporter began to count, whole seconds
	Number     int  // 0 for the first of a series
	Previous   Hash // SHA-256 of the record before; zero for the first
	Time       Time // by the vault's clock, whole seconds
	Type       string
	Newest     []NewestPoint // by source: the newest trusted points the reporter saw
	Ext        Ext
	Body       json.RawMessage // one JSON object on one line; empty in a record of a later version
}

// NewestPoint is the newest trusted point of a source that a reporter saw.
type NewestPoint struct {
	Source string `json:"source"`
	Point  string `json:"point"` // PointKey
}

// recordHead is the first line of a record. Members and their order never change.
type recordHead struct {
	Format     string        `json:"format"`
	Kind       string        `json:"kind"`
	Requires   []string      `json:"requires,omitempty"`
	Repository Hash          `json:"repository"`
	Reporter   string        `json:"reporter"`
	Series     Time          `json:"series"`
	Number     int           `json:"number"`
	Previous   Hash          `json:"previous,omitzero"`
	Time       Time          `json:"time"`
	Type       string        `json:"type"`
	Newest     []NewestPoint `json:"newest,omitempty"`
	Ext        Ext           `json:"ext,omitzero"`
}

// PointKey is how a list or a record names a point: the time its name says, and its ID.
func PointKey(signedAt Time, id Hash) string {
	return signedAt.UTC().Format(stampLayout) + "-" + id.String()
}

// ParsePointKey takes apart what PointKey gave.
func ParsePointKey(s string) (signedAt Time, id Hash, err error) {
	signedAt, rest, err := stampBefore(s, s)
	if err != nil {
		return Time{}, Hash{}, err
	}
	if id, err = ParseHash(rest); err != nil {
		return Time{}, Hash{}, badName(s)
	}
	return signedAt, id, nil
}

// EncodeRecord writes a record. Its SHA-256 is what the next one names.
func EncodeRecord(r *Record) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("encode record: %w", err) }
	filled := *r
	filled.Format, filled.Kind = cmp.Or(r.Format, Version), cmp.Or(r.Kind, KindRecord)
	if err := cmp.Or(filled.checkHead(), knownVersion(filled.Format, filled.Requires), checkRecordBody(r.Body)); err != nil {
		return fail(err)
	}
	b, err := marshal(&recordHead{
		filled.Format, filled.Kind, filled.Requires, r.Repository, r.Reporter, r.Series, r.Number, r.Previous, r.Time, r.Type, r.Newest, r.Ext,
	})
	if err != nil {
		return fail(err)
	}
	if b = append(append(b, r.Body...), '\n'); len(b) > MaxRecord {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	return b, nil
}

// DecodeRecord reads a record. The caller has compared its SHA-256 with the one in its signed name. Of one that a later
// version wrote it gives the head, together with ErrNewer: enough to follow the reporter's count.
func DecodeRecord(b []byte) (*Record, error) {
	fail := func(err error) (*Record, error) { return nil, fmt.Errorf("record: %w", err) }
	if len(b) > MaxRecord {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	first, rest := cutLine(b)
	h := new(recordHead)
	if err := unmarshal(first, h); err != nil {
		return fail(err)
	}
	r := &Record{
		Format: h.Format, Kind: h.Kind, Requires: h.Requires, Repository: h.Repository, Reporter: h.Reporter, Series: h.Series, Number: h.Number,
		Previous: h.Previous, Time: h.Time, Type: h.Type, Newest: h.Newest, Ext: h.Ext,
	}
	if err := r.checkHead(); err != nil {
		return fail(err)
	}
	if err := knownVersion(h.Format, h.Requires); err != nil {
		return r, fmt.Errorf("record: %w", err)
	}
	body, ok := bytes.CutSuffix(rest, []byte{'\n'})
	if !ok {
		return fail(fmt.Errorf("its last line does not end: %w", ErrMalformed))
	}
	if err := checkRecordBody(body); err != nil {
		return fail(err)
	}
	r.Body = body
	return r, nil
}

// checkHead checks what stands in the head of any version.
func (r *Record) checkHead() error {
	if r.Kind != KindRecord {
		return fmt.Errorf("kind %q instead of %q: %w", clip([]byte(r.Kind)), KindRecord, ErrMalformed)
	}
	if err := checkVersion(r.Format, r.Requires); err != nil {
		return err
	}
	if r.Repository.IsZero() {
		return fmt.Errorf("no repository: %w", ErrMalformed)
	}
	if !ValidName(r.Reporter) || !ValidName(r.Type) {
		return fmt.Errorf("reporter %q, type %q: %w", clip([]byte(r.Reporter)), clip([]byte(r.Type)), ErrMalformed)
	}
	for _, t := range []Time{r.Series, r.Time} {
		if err := checkTime(t); err != nil {
			return err
		}
		if t.IsZero() || t.Nanosecond() != 0 {
			return fmt.Errorf("a time that is not in whole seconds: %w", ErrMalformed)
		}
	}
	if r.Number < 0 || r.Number > maxRecordNumber {
		return fmt.Errorf("number %d: %w", r.Number, ErrBounds)
	}
	if (r.Number == 0) != r.Previous.IsZero() {
		return fmt.Errorf("number %d and the hash of the record before do not go together: %w", r.Number, ErrMalformed)
	}
	return r.checkNewest()
}

func (r *Record) checkNewest() error {
	if len(r.Newest) > MaxNewest {
		return fmt.Errorf("%d newest points: %w", len(r.Newest), ErrBounds)
	}
	for i, p := range r.Newest {
		if !ValidName(p.Source) || i > 0 && r.Newest[i-1].Source >= p.Source {
			return fmt.Errorf("newest points: source %q: %w", clip([]byte(p.Source)), ErrMalformed)
		}
		if _, _, err := ParsePointKey(p.Point); err != nil {
			return fmt.Errorf("newest points: %w", err)
		}
	}
	return nil
}

// checkRecordBody refuses what is not one JSON object on one line.
func checkRecordBody(b []byte) error {
	if len(b) == 0 || b[0] != '{' || bytes.IndexByte(b, '\n') >= 0 || !utf8.Valid(b) || !json.Valid(b) {
		return fmt.Errorf("the body is not one JSON object on one line: %w", ErrMalformed)
	}
	return nil
}

// RecordID is what the name of a record says. Only the signature makes it true.
type RecordID struct {
	Reporter  string
	Series    Time // whole seconds
	Number    int
	Sum       Hash   // SHA-256 of the stored bytes
	Hint      string // which key signed: KeyHint of its public half
	Signature []byte
}

// SeriesPrefix is what the names of a series begin with.
func SeriesPrefix(reporter string, series Time) string {
	return PrefixReports + reporter + "/" + series.UTC().Format(stampLayout) + "-"
}

// Name gives the name itself.
func (r RecordID) Name() string {
	return fmt.Sprintf("%s%s/%s-%08d-%s-%s-%s.json", PrefixReports, r.Reporter, r.Series.UTC().Format(stampLayout), r.Number, r.Sum, r.Hint, hex.EncodeToString(r.Signature))
}

// Message is what the signature in the name signs: five lines of text.
func (r RecordID) Message(repository Hash) []byte {
	return fmt.Appendf(nil, "%s\n%s\n%s\n%08d\n%s\n", repository, r.Reporter, r.Series.UTC().Format(stampLayout), r.Number, r.Sum)
}

const recordDigits = 8 // of the number in a record's name

// ParseRecordName takes a record's name apart. It checks the form only: the caller verifies the signature over Message.
func ParseRecordName(name string) (RecordID, error) {
	rest, ok := strings.CutPrefix(name, PrefixReports)
	if !ok {
		return RecordID{}, badName(name)
	}
	reporter, rest, ok := strings.Cut(rest, "/")
	if !ok || !ValidName(reporter) {
		return RecordID{}, badName(name)
	}
	series, rest, err := stampBefore(name, rest)
	if err != nil {
		return RecordID{}, err
	}
	rest, ok = strings.CutSuffix(rest, ".json")
	if !ok || len(rest) != recordDigits+1+hashText+1+hintText+1+signatureText {
		return RecordID{}, badName(name)
	}
	r := RecordID{Reporter: reporter, Series: series}
	for _, c := range []byte(rest[:recordDigits]) {
		r.Number = r.Number*10 + int(c-'0') // whatever else it is, Name would not write it
	}
	rest = rest[recordDigits+1:]
	if r.Sum, err = ParseHash(rest[:hashText]); err != nil {
		return RecordID{}, badName(name)
	}
	r.Hint = rest[hashText+1 : hashText+1+hintText]
	r.Signature, err = hex.DecodeString(rest[hashText+1+hintText+1:])
	if err != nil || r.Number < 0 || r.Name() != name || !isHint(r.Hint) {
		return RecordID{}, badName(name)
	}
	return r, nil
}
