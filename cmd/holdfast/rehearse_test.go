package main

import (
	"slices"
	"testing"
)

func TestWordsOf(t *testing.T) {
	for text, want := range map[string][]string{
		"pg_verifybackup {}":         {"pg_verifybackup", "{}"},
		"  a\t b\n":                  {"a", "b"},
		`a "b c" 'd "e'`:             {"a", "b c", `d "e`},
		`a\ b "c\"d" 'e\f'`:          {"a b", `c"d`, `e\f`},
		`a "" b''c`:                  {"a", "", "bc"},
		`["sh", "-c", "a  b", "{}"]`: {"sh", "-c", "a  b", "{}"},
		"a; rm $HOME *":              {"a;", "rm", "$HOME", "*"}, // no shell
	} {
		if got, err := wordsOf(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v instead of %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", `"a`, `a\`, "[", "[1]", "[]", `""`, `[""]`} {
		if got, err := wordsOf(text); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// TestPercentUp: at most is never less than it is, and short.
func TestPercentUp(t *testing.T) {
	for share, want := range map[float64]float64{0: 0, 1: 100, 2: 100, 0.0029912: 0.3, 0.00303: 0.31, 0.0000123: 0.0013, 0.5: 50, 0.501: 51, 0.999: 100, 0.03: 3} {
		if got := percentUp(share); got != want {
			t.Errorf("%g: %g %% instead of %g", share, got, want)
		}
	}
}

func TestStatement(t *testing.T) {
	likely, low, high := 147_600.0, 133_200.0, 176_400.0
	well := rehearsedJSON{
		Entries: 2_104_331, Of: 2_104_331, Compared: 1000, Most: 0.3, Confidence: 95, Bytes: 2 << 40, Beside: 21_000,
		Restore: &likely, RestoreLow: &low, RestoreHigh: &high,
	}
	some := well
	some.Bad, some.BesideBad, some.Lost, some.Of, some.TooLarge, some.Restore, some.Older = 2, 1, 16, 2_104_346, 1, nil, 12
	whole := rehearsedJSON{Entries: 3, Of: 3, Compared: 3, Restore: &low, Measured: true}
	for _, c := range []struct {
		line rehearsedJSON
		want []string
	}{
		{well, []string{
			"1,000 of 2,104,331 entries restored and compared, none bad: at most 0.3 % are bad (95 %)",
			"21,000 entries more compared in runs of neighbours, none bad",
			"restoring all of it (2.0 TiB) would take 41 h at the rates measured here, between 37 h and 49 h (95 %)",
		}},
		{some, []string{
			"1,000 of 2,104,331 entries restored and compared, 2 bad: at most 0.3 % of the 2,104,346 that could be drawn and tested are bad (95 %)",
			"21,000 entries more compared in runs of neighbours, 1 bad",
			"pages of the manifest are lost, and 16 entries with them",
			"not looked at: 1 too large to be drawn (0 B): --whole, or a larger --sample-bytes, restores them",
			"not looked at: 12 older versions and delete markers, which a folder does not hold",
		}},
		{whole, []string{"all 3 entries restored and compared, none bad", "restoring all of it took 37 h here"}},
		{rehearsedJSON{Lost: 2}, []string{"pages of the manifest are lost, and 2 entries with them"}},
		{rehearsedJSON{}, []string{"the point holds nothing that a folder can hold"}},
		{rehearsedJSON{Entries: 1}, []string{"none of 1 entry could be compared, so nothing is known"}},
	} {
		if got := statement(c.line); !slices.Equal(got, c.want) {
			t.Errorf("%q instead of %q", got, c.want)
		}
	}
}
