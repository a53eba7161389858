package retain

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func span(t testing.TB, s string) Span {
	t.Helper()
	v, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Span
		out  string
	}{
		{"0", Span{}, "0"},
		{"90m", Span{Duration: 90 * time.Minute}, "90m"},
		{"12h", Span{Duration: 12 * time.Hour}, "12h"},
		{"24h", Span{Duration: day}, "1d"},
		{"35d", Span{Duration: 35 * day}, "35d"},
		{"12w", Span{Duration: 84 * day}, "84d"},
		{"12mo", Span{Months: 12}, "1y"},
		{"13mo", Span{Months: 13}, "13mo"},
		{"7y", Span{Months: 84}, "7y"},
		{"100y", Span{Months: 1200}, "100y"},
	} {
		got, err := Parse(c.in)
		if err != nil || got != c.want || got.String() != c.out {
			t.Errorf("Parse(%q) = %+v (%s), %v; want %+v (%s)", c.in, got, got, err, c.want, c.out)
		}
	}
	for _, bad := range []string{"", "1", "d", "-1d", "1.5d", "1 d", "1D", "35days", "101y", "1201mo", "99999999d", "99999999w", "999999999m", "1d\n"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", bad, got)
		}
	}
	if got := (Span{Months: 1, Duration: time.Second}).String(); got != "1mo+1s" {
		t.Errorf("mixed span is written %q", got)
	}
}

func TestAddTo(t *testing.T) {
	for _, c := range []struct{ span, from, want string }{
		{"1mo", "2026-01-31T10:20:30Z", "2026-02-28T10:20:30Z"},
		{"1mo", "2028-01-31T10:20:30Z", "2028-02-29T10:20:30Z"},
		{"1mo", "2026-11-30T00:00:00Z", "2026-12-30T00:00:00Z"},
		{"2mo", "2026-12-31T00:00:00Z", "2027-02-28T00:00:00Z"},
		{"12mo", "2026-01-31T00:00:00Z", "2027-01-31T00:00:00Z"},
		{"1y", "2028-02-29T23:59:59Z", "2029-02-28T23:59:59Z"},
		{"4y", "2028-02-29T23:59:59Z", "2032-02-29T23:59:59Z"},
		{"100y", "2000-02-29T00:00:00Z", "2100-02-28T00:00:00Z"}, // 2100 is no leap year
		{"35d", "2026-10-20T03:00:00+02:00", "2026-11-24T01:00:00Z"},
		{"12w", "2026-03-01T00:00:00Z", "2026-05-24T00:00:00Z"},
		{"0", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"},
	} {
		if got := span(t, c.span).AddTo(at(t, c.from)); !got.Equal(at(t, c.want)) || got.Location() != time.UTC {
			t.Errorf("%s after %s is %s, want %s", c.span, c.from, got, c.want)
		}
	}
}

func usual(t testing.TB) Policy {
	return Policy{Daily: span(t, "35d"), Weekly: span(t, "12w"), Monthly: span(t, "12mo")}
}

func TestDecide(t *testing.T) {
	p := usual(t)
	hours := usual(t)
	hours.Hourly = span(t, "48h")
	monday := "2026-11-23T02:00:00Z"
	kept := at(t, "2099-01-01T00:00:00Z")
	on := func(day string, slots ...string) Earlier {
		return Earlier{TakenAt: at(t, day), RetainUntil: kept, Complete: true, Slots: slots}
	}
	full := func(slots ...string) Earlier { return on(monday, slots...) }
	half := func(slots ...string) Earlier {
		return Earlier{TakenAt: at(t, monday), RetainUntil: kept, Slots: slots}
	}
	for _, c := range []struct {
		name    string
		policy  Policy
		at      string
		earlier []Earlier
		slots   []string
		until   string
	}{
		{"the first point fills everything", p, monday, nil,
			[]string{"daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11"}, "2027-11-23T02:00:00Z"},
		{"a second one of the day fills nothing and gets the shortest", p, "2026-11-23T20:00:00Z",
			[]Earlier{full("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, nil, "2026-12-28T20:00:00Z"},
		{"the next day fills its day", p, "2026-11-24T02:00:00Z",
			[]Earlier{full("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"daily-2026-11-24"}, "2026-12-29T02:00:00Z"},
		{"the next week", p, "2026-11-30T02:00:00Z",
			[]Earlier{full("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"daily-2026-11-30", "weekly-2026-w49"}, "2027-02-22T02:00:00Z"},
		{"the next month inside a week", p, "2026-12-01T02:00:00Z",
			[]Earlier{on("2026-11-30T02:00:00Z", "weekly-2026-w49", "monthly-2026-11")}, []string{"daily-2026-12-01", "monthly-2026-12"}, "2027-12-01T02:00:00Z"},
		{"an incomplete point leaves its slots open", p, "2026-11-23T20:00:00Z",
			[]Earlier{half("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")},
			[]string{"daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11"}, "2027-11-23T20:00:00Z"},
		{"only some slots are open again", p, "2026-11-23T20:00:00Z",
			[]Earlier{half("daily-2026-11-23"), full("weekly-2026-w48", "monthly-2026-11")}, []string{"daily-2026-11-23"}, "2026-12-28T20:00:00Z"},
		{"the ISO week of a new year's first days is the old year's", p, "2027-01-02T02:00:00Z",
			[]Earlier{on("2026-12-30T02:00:00Z", "weekly-2026-w53")}, []string{"daily-2027-01-02", "monthly-2027-01"}, "2028-01-02T02:00:00Z"},
		{"the same week number of another year", p, "2027-11-29T02:00:00Z",
			[]Earlier{full("weekly-2026-w48", "monthly-2026-11")},
			[]string{"daily-2027-11-29", "weekly-2027-w48", "monthly-2027-11"}, "2028-11-29T02:00:00Z"},
		{"a run that ended after midnight keeps the day it began in", p, "2026-11-24T23:50:00Z",
			[]Earlier{on("2026-11-23T23:50:00Z", "daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")},
			[]string{"daily-2026-11-24"}, "2026-12-29T23:50:00Z"},
		{"local times are read as UTC", p, "2026-11-24T00:30:00+02:00",
			[]Earlier{full("weekly-2026-w48", "monthly-2026-11")}, []string{"daily-2026-11-23"}, "2026-12-28T22:30:00Z"},
		{"a kind that is off is never filled", Policy{Weekly: span(t, "12w"), Yearly: span(t, "7y")}, monday, nil,
			[]string{"weekly-2026-w48", "yearly-2026"}, "2033-11-23T02:00:00Z"},
		{"the longest-lasting wins, whichever kind it is", Policy{Daily: span(t, "2y"), Monthly: span(t, "1mo")}, monday, nil,
			[]string{"daily-2026-11-23", "monthly-2026-11"}, "2028-11-23T02:00:00Z"},
		{"no slot: the shortest that is not zero, whichever kind", Policy{Daily: span(t, "2y"), Monthly: span(t, "1mo")}, monday,
			[]Earlier{full("daily-2026-11-23", "monthly-2026-11")}, nil, "2026-12-23T02:00:00Z"},
		{"slots of other times than the point's own are not believed", p, "2026-12-01T02:00:00Z",
			[]Earlier{full("daily-2026-12-01", "weekly-2026-w49", "monthly-2026-12")}, []string{"daily-2026-12-01", "weekly-2026-w49", "monthly-2026-12"}, "2027-12-01T02:00:00Z"},
		{"a point that is not kept as long as its slots ask fills none", p, "2026-11-23T20:00:00Z",
			[]Earlier{{TakenAt: at(t, monday), RetainUntil: at(t, "2026-11-24T00:00:00Z"), Complete: true, Slots: []string{"daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11"}}},
			[]string{"daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11"}, "2027-11-23T20:00:00Z"},
		{"one that is kept long enough for some fills those", p, "2026-11-23T20:00:00Z",
			[]Earlier{{TakenAt: at(t, monday), RetainUntil: at(t, "2027-02-15T02:00:00Z"), Complete: true, Slots: []string{"daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11"}}},
			[]string{"monthly-2026-11"}, "2027-11-23T20:00:00Z"},
		{"with hours the first point fills one more", hours, monday, nil,
			[]string{"hourly-2026-11-23t02", "daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11"}, "2027-11-23T02:00:00Z"},
		{"the next hour fills its hour", hours, "2026-11-23T03:00:00Z",
			[]Earlier{full("hourly-2026-11-23t02", "daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"hourly-2026-11-23t03"}, "2026-11-25T03:00:00Z"},
		{"a second one of the hour fills nothing and is kept as long", hours, "2026-11-23T02:59:59Z",
			[]Earlier{full("hourly-2026-11-23t02", "daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, nil, "2026-11-25T02:59:59Z"},
		{"the same hour of another day", hours, "2026-11-24T02:00:00Z",
			[]Earlier{full("hourly-2026-11-23t02", "daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"hourly-2026-11-24t02", "daily-2026-11-24"}, "2026-12-29T02:00:00Z"},
		{"an incomplete point leaves its hour open", hours, "2026-11-23T02:30:00Z",
			[]Earlier{half("hourly-2026-11-23t02"), full("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"hourly-2026-11-23t02"}, "2026-11-25T02:30:00Z"},
		{"points from before there were hours leave them open", hours, "2026-11-23T02:30:00Z",
			[]Earlier{full("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"hourly-2026-11-23t02"}, "2026-11-25T02:30:00Z"},
		{"hours of half a time zone are read as UTC", hours, "2026-11-23T08:00:00+05:30",
			[]Earlier{full("daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, []string{"hourly-2026-11-23t02"}, "2026-11-25T02:30:00Z"},
		{"hours that are off are never filled", p, "2026-11-23T03:00:00Z",
			[]Earlier{full("hourly-2026-11-23t02", "daily-2026-11-23", "weekly-2026-w48", "monthly-2026-11")}, nil, "2026-12-28T03:00:00Z"},
		{"hours that last longest win", Policy{Hourly: span(t, "90d"), Daily: span(t, "7d")}, monday, nil,
			[]string{"hourly-2026-11-23t02", "daily-2026-11-23"}, "2027-02-21T02:00:00Z"},
		{"a policy of zeros keeps nothing", Policy{}, monday, nil, nil, monday},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Decide(c.policy, at(t, c.at), c.earlier)
			if !slices.Equal(got.Slots, c.slots) || !got.RetainUntil.Equal(at(t, c.until)) || got.RetainUntil.Location() != time.UTC {
				t.Errorf("got %v until %s, want %v until %s", got.Slots, got.RetainUntil, c.slots, c.until)
			}
		})
	}
}

func TestLongest(t *testing.T) {
	p := usual(t)
	for from, want := range map[string]time.Duration{"2026-11-23T00:00:00Z": 365 * day, "2027-11-23T00:00:00Z": 366 * day} {
		if got := Longest(p, at(t, from)); got != want {
			t.Errorf("from %s: %s, want %s", from, got, want)
		}
	}
	if got := Longest(Policy{Hourly: span(t, "48h"), Daily: span(t, "12h")}, at(t, "2026-11-23T00:00:00Z")); got != 2*day {
		t.Errorf("hours last longest: %s", got)
	}
	if got := Longest(Policy{}, at(t, "2026-11-23T00:00:00Z")); got != 0 {
		t.Errorf("a policy of zeros: %s", got)
	}
}

func anySpan() *rapid.Generator[Span] {
	return rapid.Custom(func(t *rapid.T) Span {
		if rapid.Bool().Draw(t, "calendar") {
			return Span{Months: rapid.IntRange(0, 120).Draw(t, "months")}
		}
		return Span{Duration: time.Duration(rapid.IntRange(0, 4000).Draw(t, "hours")) * time.Hour}
	})
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64Range(0, 4_000_000_000), func(s int64) time.Time { return time.Unix(s, 0).UTC() })
}

// A history of points written one after another: every slot of every period gets exactly one complete point, decisions
// stay within the policy, and slots are names that a commit object may hold.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Hourly: anySpan().Draw(t, "hourly"), Daily: anySpan().Draw(t, "daily"), Weekly: anySpan().Draw(t, "weekly"), Monthly: anySpan().Draw(t, "monthly"), Yearly: anySpan().Draw(t, "yearly")}
		now := anyTime().Draw(t, "start")
		var all []Earlier
		filled := map[string]int{}
		for range rapid.IntRange(1, 40).Draw(t, "points") {
			now = now.Add(time.Duration(rapid.IntRange(1, 24*40*60).Draw(t, "step")) * time.Minute)
			d := Decide(p, now, all)
			if d.RetainUntil.Before(now) || d.RetainUntil.Sub(now) > Longest(p, now) {
				t.Fatalf("kept until %s from %s, the longest is %s", d.RetainUntil, now, Longest(p, now))
			}
			e := Earlier{TakenAt: now, RetainUntil: d.RetainUntil, Complete: rapid.IntRange(0, 3).Draw(t, "luck") > 0, Slots: d.Slots}
			for _, s := range d.Slots {
				if !format.ValidName(s) {
					t.Fatalf("slot %q cannot stand in a commit object", s)
				}
				if e.Complete {
					filled[s]++
				}
			}
			all = append(all, e)
			if e.Complete {
				for _, k := range kinds(p) {
					if n := filled[k.slot(now)]; !k.span.IsZero() && n != 1 {
						t.Fatalf("after a complete point slot %s is filled %d times", k.slot(now), n)
					}
				}
			}
		}
	})
}

func TestSpanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, from := anySpan().Draw(t, "span"), anyTime().Draw(t, "from")
		back, err := Parse(s.String())
		if err != nil || back != s {
			t.Fatalf("%v is written %q and read as %v: %v", s, s.String(), back, err)
		}
		end := s.AddTo(from)
		if end.Before(from) || s.IsZero() != end.Equal(from) {
			t.Fatalf("%s after %s is %s", s, from, end)
		}
		y, m, _ := from.Date()
		want := time.Date(y, m+time.Month(s.Months), 1, 0, 0, 0, 0, time.UTC)
		if s.Duration == 0 && (end.Year() != want.Year() || end.Month() != want.Month()) {
			t.Fatalf("%s after %s falls into %s instead of %s", s, from, end.Format("2006-01"), want.Format("2006-01"))
		}
	})
}

func TestAnyNow(t *testing.T) {
	at := time.Date(2026, 11, 30, 23, 30, 0, 0, time.UTC) // a Monday, of week 49
	for slot, want := range map[string]bool{
		"hourly-2026-11-30t23": true, "hourly-2026-11-30t22": false, "daily-2026-11-30": true, "daily-2026-11-29": false, "weekly-2026-w49": true,
		"weekly-2026-w48": false, "monthly-2026-11": true, "monthly-2025-11": false, "yearly-2026": true, "yearly-2025": false, "other": false,
	} {
		if AnyNow([]string{"other", slot}, at.In(time.FixedZone("", 7200))) != want {
			t.Errorf("%s: want %v", slot, want)
		}
	}
}
