package prices_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/prices"
	"github.com/holdfast-backup/holdfast/store/meter"
)

func shipped(t *testing.T) *prices.Tables {
	t.Helper()
	all, err := prices.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestShippedTables: each can be used, and says when and where it was read.
func TestShippedTables(t *testing.T) {
	all := shipped(t)
	for _, c := range []struct{ host, region, vendor string }{
		{prices.AWS, "eu-central-1", "aws"}, {"s3.us-east-1.amazonaws.com", "us-east-1", "aws"},
		{"s3.eu-central-003.backblazeb2.com", "eu-central-003", "b2"}, {"s3.eu-central-1.wasabisys.com", "", "wasabi"},
		{"ACCOUNT.r2.cloudflarestorage.com", "auto", "r2"},
	} {
		p, err := all.For(c.host, c.region)
		if err != nil {
			t.Errorf("%s: %v", c.host, err)
			continue
		}
		if p.Table.Vendor != c.vendor || p.Storage <= 0 || len(p.Table.Sources) == 0 || len(p.Table.Notes) == 0 || !strings.HasPrefix(p.Name(), c.vendor+" 20") {
			t.Errorf("%s: %+v", c.host, p.Table)
		}
		for _, s := range p.Table.Sources {
			if !strings.HasPrefix(s, "https://") {
				t.Errorf("%s: source %q", c.vendor, s)
			}
		}
	}
	for _, c := range []struct{ host, region, says string }{
		{"minio.example.com", "", "no price is known of minio.example.com: give them in a file with `prices: FILE`"},
		{"notbackblazeb2.com", "", "no price is known"},
		{prices.AWS, "", `of region "" of Amazon S3 Standard: the table has `},
		{prices.AWS, "mars-1", "name the region in the url"},
	} {
		if _, err := all.For(c.host, c.region); !errors.Is(err, prices.ErrNone) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v", c.host, c.region, err)
		}
	}
}

const own = `{"vendor": "own", "as_of": "2026-01-02", "currency": "EUR", "hosts": ["wasabisys.com"], "gb": 1000000000, "minimum_days": 30,
 "regions": {"*": {"storage": 0.01, "put": 1, "lock": 2, "list": 3, "get": 4, "egress": 0.5}}}`

// TestOwnTablesComeFirst, alone or as a list.
func TestOwnTablesComeFirst(t *testing.T) {
	for _, text := range []string{own, "[" + own + "]\n"} {
		all, err := shipped(t).Over(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := all.For("s3.wasabisys.com", "x")
		if err != nil || p.Name() != "own 2026-01-02" {
			t.Fatalf("%v, %v", p.Table, err)
		}
		if _, err := all.For("backblazeb2.com", ""); err != nil {
			t.Error(err)
		}
	}
}

// TestBadTables are refused with what is wrong.
func TestBadTables(t *testing.T) {
	for _, c := range []struct{ from, to, says string }{
		{own, "", "the file is empty"},
		{own, "\n\n", "the file is empty"},
		{`"egress": 0.5}}}`, `"egress": 0.5`, "line 2: the file ends within the JSON"},
		{own, "\n\n{\n\"vendor\": \"x\",\n", "line 4: the file ends within the JSON"},
		{own, "\n\n{,}", "line 3: "},
		{`0.01`, `"dear"`, "line 2: "},
		{own, "[]", "there is no table in it"},
		{own, "[null]", "null is no table"},
		{own, own + own, "there is more behind the end"},
		{`"own"`, `""`, "a table has no vendor"},
		{`2026-01-02`, `lately`, "as_of is the day"},
		{`"EUR"`, `"euro"`, "currency is three capital letters"},
		{`["wasabisys.com"]`, `[]`, "hosts is empty"},
		{`1000000000`, `1000`, "gb is 1000000000 or 1073741824"},
		{`"minimum_days": 30`, `"minimum_days": -1`, "minimum_days or minimum_bytes"},
		{`{"*": {`, `{"*": {"sturage": 1, `, `line 2: json: unknown field "sturage"`},
		{`0.01`, `-1`, "region * has a price of -1"},
		{"\n \"regions\"", "\n\n regions", "line 3: "},
	} {
		if _, err := shipped(t).Over(strings.NewReader(strings.Replace(own, c.from, c.to, 1))); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s instead of %.20s: %v", c.to, c.from, err)
		}
	}
	if _, err := shipped(t).Over(strings.NewReader(strings.Repeat(" ", prices.MaxFile+1))); err == nil {
		t.Error("a huge file was taken")
	}
}

// TestArithmetic by hand.
func TestArithmetic(t *testing.T) {
	all, err := shipped(t).Over(strings.NewReader(own))
	if err != nil {
		t.Fatal(err)
	}
	p, err := all.For("wasabisys.com", "")
	if err != nil {
		t.Fatal(err)
	}
	const gb = 1_000_000_000
	for what, c := range map[string][2]float64{
		"two months of 5 GB":            {p.Kept(5*gb, 2*prices.Month), 0.10},
		"a day, billed as thirty":       {p.Kept(gb, 24*time.Hour), 0.01 * 30 * 24 / 730},
		"a month":                       {p.Month(3 * gb), 0.03},
		"out":                           {p.Out(2 * gb), 1},
		"a thousand requests of a kind": {p.Requests(meter.Asked{Put: 1000, Lock: 1000, List: 1000, Get: 1000}), 10},
	} {
		if math.Abs(c[0]-c[1]) > 1e-9 {
			t.Errorf("%s costs %g, want %g", what, c[0], c[1])
		}
	}
	if _, ok := p.Blocks(meter.Asked{Get: 1}); ok {
		t.Error("blocks have no price there")
	}
}
