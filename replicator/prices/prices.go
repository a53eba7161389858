// Package prices tells what vendors charge, from dated tables that ship with the program or that a user wrote.
//
// A table says of a vendor what storage, requests and egress cost, when that was read and where. Nothing is ever asked of the network,
// and nothing is guessed: where there is no table for a place there is no price.
package prices

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/meter"
)

//go:embed tables/*.json
var shipped embed.FS

// AWS is the host of a URL that names no endpoint.
const AWS = "aws"

// Directory is the host of a vault that is a directory. No table that ships names it: what a disk costs its owner knows.
const Directory = "directory"

// Any is the region of what is charged in all regions that are not named.
const Any = "*"

// MaxFile is how large a file of tables may be, in bytes.
const MaxFile = 1 << 20

// Month is what vendors bill as a month.
const Month = 730 * time.Hour

// ErrNone: there is no table for a place.
var ErrNone = errors.New("no price is known")

// Table is what one vendor charges.
type Table struct {
	Vendor       string           `json:"vendor"`
	Title        string           `json:"title"`
	AsOf         string           `json:"as_of"` // a date
	Sources      []string         `json:"sources"`
	Currency     string           `json:"currency"`
	Hosts        []string         `json:"hosts"` // names, or their ends
	GB           int64            `json:"gb"`    // bytes
	MinimumDays  int              `json:"minimum_days"`
	MinimumBytes int64            `json:"minimum_bytes"`
	Regions      map[string]Rates `json:"regions"`
	Notes        []string         `json:"notes"`
}

// Rates are the prices of one region, in the table's currency.
type Rates struct {
	Storage   float64 `json:"storage"` // a GB for a month
	Put       float64 `json:"put"`     // of 1,000 requests, as the others
	Lock      float64 `json:"lock"`
	List      float64 `json:"list"`
	Get       float64 `json:"get"`
	Egress    float64 `json:"egress"` // a GB
	BlockList float64 `json:"block_list"`
	BlockGet  float64 `json:"block_get"`
}

// Price is what one place charges.
type Price struct {
	Rates
	Table *Table
}

// Tables are those of a user, if any, before those that ship.
type Tables struct{ list []*Table }

// Shipped gives the tables that ship with the program.
func Shipped() (*Tables, error) {
	entries, err := fs.ReadDir(shipped, "tables")
	if err != nil {
		return nil, err
	}
	t := &Tables{}
	for _, e := range entries {
		text, err := shipped.ReadFile(path.Join("tables", e.Name()))
		if err != nil {
			return nil, err
		}
		list, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("price table %s: %w", e.Name(), err)
		}
		t.list = append(t.list, list...)
	}
	return t, nil
}

// Over puts the tables of a file, one or a list of them, before those of t.
func (t *Tables) Over(file io.Reader) (*Tables, error) {
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	list, err := parse(text)
	if err != nil {
		return nil, err
	}
	return &Tables{append(list, t.list...)}, nil
}

// parse reads one table, or a list of them, strictly.
func parse(text []byte) ([]*Table, error) {
	var out []*Table
	var to any = &out
	text = bytes.TrimRight(text, " \t\r\n")
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("[")) {
		out = []*Table{{}}
		to = out[0]
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return nil, atLine(text, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the end of the table; several tables are a list: [{..}, {..}]")
	}
	if len(out) == 0 {
		return nil, errors.New("there is no table in it")
	}
	for _, t := range out {
		if t == nil {
			return nil, errors.New("null is no table")
		}
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// atLine says where JSON is wrong, if the error knows.
func atLine(text []byte, err error) error {
	at := int64(-1)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = e.Offset
	} else if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		at = e.Offset
	} else if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		at = int64(bytes.Index(text, []byte(field)))
	}
	switch {
	case len(text) == 0:
		return errors.New("the file is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("line %d: the file ends within the JSON: a bracket, a brace or a quotation mark is not closed", 1+bytes.Count(text, []byte("\n")))
	case at < 0 || at > int64(len(text)):
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:at], []byte("\n")), err)
}

func (t *Table) check() error {
	fail := func(text string, args ...any) error {
		return fmt.Errorf("table %q: %s", t.Vendor, fmt.Sprintf(text, args...))
	}
	switch {
	case t.Vendor == "":
		return errors.New("a table has no vendor")
	case len(t.Currency) != 3 || strings.ToUpper(t.Currency) != t.Currency:
		return fail("currency is three capital letters, such as USD")
	case len(t.Hosts) == 0:
		return fail("hosts is empty: name the endpoint's host")
	case t.GB != 1e9 && t.GB != 1<<30:
		return fail("gb is 1000000000 or 1073741824")
	case t.MinimumDays < 0 || t.MinimumDays > 3660 || t.MinimumBytes < 0 || t.MinimumBytes > 1<<30:
		return fail("minimum_days or minimum_bytes cannot be that")
	case len(t.Regions) == 0:
		return fail("regions is empty: write \"*\" for all")
	}
	if _, err := time.Parse(time.DateOnly, t.AsOf); err != nil {
		return fail("as_of is the day its prices were read, such as 2026-11-30")
	}
	for region, r := range t.Regions {
		for _, v := range []float64{r.Storage, r.Put, r.Lock, r.List, r.Get, r.Egress, r.BlockList, r.BlockGet} {
			if v < 0 || v > 1e6 || math.IsNaN(v) {
				return fail("region %s has a price of %g", region, v)
			}
		}
	}
	return nil
}

// For gives what a place charges: the first table that names the host, or an end of it, and the region or any.
func (t *Tables) For(host, region string) (Price, error) {
	host = strings.ToLower(host)
	for _, table := range t.list {
		if !slices.ContainsFunc(table.Hosts, func(h string) bool { return host == h || strings.HasSuffix(host, "."+h) }) {
			continue
		}
		if r, ok := table.Regions[region]; ok && region != "" {
			return Price{r, table}, nil
		}
		if r, ok := table.Regions[Any]; ok {
			return Price{r, table}, nil
		}
		return Price{}, fmt.Errorf("%w of region %q of %s: the table has %s; name the region in the url, or give its prices in a file of your own with `prices: FILE`",
			ErrNone, region, table.Title, strings.Join(table.regions(), ", "))
	}
	return Price{}, fmt.Errorf("%w of %s: give them in a file with `prices: FILE`", ErrNone, host)
}

func (t *Table) regions() []string {
	var out []string
	for r := range t.Regions {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

// Name says which table a price is of.
func (p Price) Name() string { return p.Table.Vendor + " " + p.Table.AsOf }

// Kept is what it costs to keep bytes for some time, at least as long as the vendor bills.
func (p Price) Kept(bytes int64, d time.Duration) float64 {
	return p.gb(bytes) * p.Storage * float64(p.Billed(d)) / float64(Month)
}

// Billed is how long an object is billed that is kept for d.
func (p Price) Billed(d time.Duration) time.Duration {
	return max(d, time.Duration(p.Table.MinimumDays)*24*time.Hour)
}

// Month is what it costs to keep bytes for a month, whatever the vendor bills at least.
func (p Price) Month(bytes int64) float64 { return p.gb(bytes) * p.Storage }

// Out is what it costs that bytes leave the vendor.
func (p Price) Out(bytes int64) float64 { return p.gb(bytes) * p.Egress }

// Requests is what requests cost.
func (p Price) Requests(a meter.Asked) float64 {
	return (float64(a.Put)*p.Put + float64(a.Lock)*p.Lock + float64(a.List)*p.List + float64(a.Get)*p.Get) / 1000
}

// Blocks is what requests for blocks of EBS snapshots cost. It is false where the table has no price of them.
func (p Price) Blocks(a meter.Asked) (float64, bool) {
	return (float64(a.List)*p.BlockList + float64(a.Get)*p.BlockGet) / 1000, p.BlockGet > 0
}

func (p Price) gb(bytes int64) float64 { return float64(bytes) / float64(p.Table.GB) }
