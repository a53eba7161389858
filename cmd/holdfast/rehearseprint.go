package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/process"
	"github.com/holdfast-backup/holdfast/replicator/rehearse"
)

// badJSON is one entry that is not good, for scripts.
type badJSON struct {
	Finding string `json:"finding"` // bad, untested
	Key     string `json:"key"`
	KeyB64  string `json:"key_b64,omitempty"`
	Entries int64  `json:"entries"` // those of a stretch of the manifest that is lost; else 1
	Beside  bool   `json:"beside,omitempty"`
	Detail  string `json:"detail"`
}

// checkRunJSON is one check of what was restored.
type checkRunJSON struct {
	Command string  `json:"command"`
	Status  string  `json:"status"` // ok, failed
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// stratumJSON is what came of entries that are alike.
type stratumJSON struct {
	Name     string `json:"name"`
	Entries  int64  `json:"entries"`
	Bytes    int64  `json:"bytes"`
	TooLarge int64  `json:"too_large,omitempty"`
	Compared int64  `json:"compared"`
	Bad      int64  `json:"bad"`
}

// rehearsedJSON are the figures, for scripts.
type rehearsedJSON struct {
	Status        string   `json:"status"` // ok, incomplete, check_failed, bad
	Point         string   `json:"point"`
	Source        string   `json:"source"`
	Vault         string   `json:"vault"`
	Seed          string   `json:"seed"` // empty: everything was restored
	Whole         bool     `json:"whole"`
	Entries       int64    `json:"entries"` // the population
	Bytes         int64    `json:"bytes"`
	Compared      int64    `json:"compared"`
	ComparedBytes int64    `json:"compared_bytes"`
	Bad           int64    `json:"bad"` // of those
	Untested      int64    `json:"untested"`
	Beside        int64    `json:"beside"` // compared in runs of neighbours
	BesideBad     int64    `json:"beside_bad"`
	Lost          int64    `json:"lost"` // entries of pages of the manifest that are lost
	TooLarge      int64    `json:"too_large"`
	TooLargeBytes int64    `json:"too_large_bytes"`
	Missing       int64    `json:"missing"`
	Older         int64    `json:"older"`
	Unheld        int64    `json:"unheld"`
	Of            int64    `json:"bound_of"` // entries of which the bound speaks
	Likely        float64  `json:"bad_percent"`
	Most          float64  `json:"bad_percent_at_most"`
	Confidence    float64  `json:"confidence_percent"`
	Restore       *float64 `json:"restore_seconds"` // of all of it; null: not known
	RestoreLow    *float64 `json:"restore_seconds_low"`
	RestoreHigh   *float64 `json:"restore_seconds_high"`
	Measured      bool     `json:"restore_measured"` // it was all restored, and timed
	Checks        int      `json:"checks"`
	ChecksFailed  int      `json:"checks_failed"`
	Seconds       float64  `json:"seconds"`
	Statement     []string `json:"statement"` // what follows, in plain words

	Strata  []stratumJSON    `json:"strata,omitempty"`
	Batches []rehearse.Batch `json:"batches,omitempty"`
	Ran     []checkRunJSON   `json:"ran,omitempty"` // the checks
	Folder  string           `json:"folder,omitempty"`
	Alarms  []string         `json:"alarms,omitempty"`
}

// recorded is the line without what names the machine or what the source holds.
func (l rehearsedJSON) recorded() rehearsedJSON {
	l.Ran, l.Folder, l.Alarms, l.Batches = nil, "", nil, nil
	return l
}

func (x *rehearsing) seedText() string { return strconv.FormatUint(x.flags.seed, 10) }

// found prints what is not good, as it is found.
func (x *rehearsing) found(f rehearse.Finding) {
	line := badJSON{Finding: "untested", Key: f.Key, KeyB64: b64(f.Key), Entries: f.Entries, Beside: f.Beside, Detail: f.Err.Error()}
	if f.Bad {
		line.Finding = "bad"
	}
	x.listed++
	switch {
	case x.ui.json:
		x.broken = errors.Join(x.broken, x.ui.object(line))
	case x.listed <= maxListed:
		x.broken = errors.Join(x.broken, x.ui.text(fmt.Sprintf("%s: %s: %s", line.Finding, safe(f.Key), printable(line.Detail))))
	}
}

// check runs the checks.
func (x *rehearsing) check(ctx context.Context, res *rehearse.Result) (out []checkRunJSON, failed error) {
	c := x.config
	if c == nil {
		c = &config.Config{}
	}
	var all together
	for i, argv := range x.flags.programs {
		if ctx.Err() != nil {
			break
		}
		says := newRelay(x.ui, fmt.Sprintf("check %d", i+1))
		began := x.now()
		for j := range argv {
			argv[j] = strings.ReplaceAll(argv[j], "{}", res.Folder)
		}
		dir, err := filepath.Abs(".")
		if err != nil {
			return out, err
		}
		err = process.Run(ctx, process.Options{
			Argv: argv, Dir: dir, Timeout: x.flags.timeout, Line: says.line,
			Env: append(programEnv(c), "HOLDFAST_POINT="+x.point.ID.String(), "HOLDFAST_SOURCE="+x.point.Source, "HOLDFAST_RESTORED="+res.Folder),
		})
		line := checkRunJSON{Command: x.flags.checks[i], Status: "ok", Seconds: roundSeconds(x.now().Sub(began).Seconds())}
		if err != nil {
			says.failed()
			line.Status, line.Detail = "failed", err.Error()
			all = append(all, &marked{errCheck, fmt.Errorf("the check %s %w", safe(argv[0]), err)})
		}
		out = append(out, line)
	}
	return out, all.orNil()
}

func (x *rehearsing) line(res *rehearse.Result, checks []checkRunJSON, said alarms) rehearsedJSON {
	l := rehearsedJSON{
		Status: "ok", Point: x.point.ID.String(), Source: x.point.Source, Vault: x.vault.name, Whole: res.Whole,
		Entries: res.Entries, Bytes: res.Bytes, Compared: res.Compared, ComparedBytes: res.ComparedBytes, Bad: res.Bad, Untested: res.Untested, Beside: res.Beside, BesideBad: res.BesideBad,
		Lost: res.Lost, TooLarge: res.TooLarge, TooLargeBytes: res.TooLargeBytes, Missing: res.Missing, Older: res.Older, Unheld: res.Unheld,
		Of: res.Of, Likely: percent(res.Share.Likely), Most: percentUp(res.Share.Most), Confidence: rehearse.Confidence * 100,
		Checks: len(checks), Seconds: roundSeconds(x.now().Sub(x.began).Seconds()), Batches: res.Batches, Ran: checks, Alarms: said.texts(),
	}
	if !x.flags.whole {
		l.Seed = x.seedText()
	}
	if x.scratch.keep {
		l.Folder = res.Folder
	}
	for _, s := range res.Strata {
		l.Strata = append(l.Strata, stratumJSON{s.Name, s.Stratum.Entries + s.TooLarge, s.Bytes + s.TooLargeBytes, s.TooLarge, s.Compared, s.Bad})
	}
	for _, c := range checks {
		if c.Status != "ok" {
			l.ChecksFailed++
		}
	}
	switch t := res.Time; {
	case res.Whole:
		s := roundSeconds(res.Seconds)
		l.Restore, l.RestoreLow, l.RestoreHigh, l.Measured = &s, &s, &s, true
	case t != nil:
		likely, low, high := roundSeconds(t.Likely), roundSeconds(t.Low), roundSeconds(t.High)
		l.Restore, l.RestoreLow, l.RestoreHigh = &likely, &low, &high
	}
	switch {
	case res.AllBad() > 0:
		l.Status = "bad"
	case l.ChecksFailed > 0:
		l.Status = "check_failed"
	case res.Untested+res.Missing > 0 || res.Entries > 0 && res.Compared == 0:
		l.Status = "incomplete"
	}
	l.Statement = statement(l)
	return l
}

// statement says what follows, in plain words.
func statement(l rehearsedJSON) (out []string) {
	say := func(text string, args ...any) { out = append(out, fmt.Sprintf(text, args...)) }
	bad := "none"
	if l.Bad > 0 {
		bad = thousands(l.Bad)
	}
	switch {
	case l.Entries == 0 && l.Lost > 0: // which is said below
	case l.Entries == 0:
		say("the point holds nothing that a folder can hold")
	case l.Compared == 0:
		say("none of %s could be compared, so nothing is known", plainEntries(l.Entries))
	case l.Compared == l.Entries:
		say("all %s restored and compared, %s bad", plainEntries(l.Entries), bad)
	default:
		of := ""
		if l.Of-l.Lost < l.Entries {
			of = fmt.Sprintf(" of the %s that could be drawn and tested", thousands(l.Of))
		}
		say("%s of %s restored and compared, %s bad: at most %s %%%s are bad (%g %%)", thousands(l.Compared), plainEntries(l.Entries), bad, strconv.FormatFloat(l.Most, 'f', -1, 64), of, l.Confidence)
	}
	if l.Beside > 0 {
		bad := "none"
		if l.BesideBad > 0 {
			bad = thousands(l.BesideBad)
		}
		say("%s more compared in runs of neighbours, %s bad", plainEntries(l.Beside), bad)
	}
	if l.Lost > 0 {
		say("pages of the manifest are lost, and %s with them", plainEntries(l.Lost))
	}
	switch {
	case l.Measured && l.Compared+l.Untested > 0:
		say("restoring all of it took %s here", spell(*l.Restore))
	case l.Restore != nil:
		say("restoring all of it (%s) would take %s at the rates measured here, between %s and %s (%g %%)", size(l.Bytes), spell(*l.Restore), spell(*l.RestoreLow), spell(*l.RestoreHigh), l.Confidence)
	}
	for _, x := range []struct {
		n    int64
		text string
	}{
		{l.TooLarge, "too large to be drawn (" + size(l.TooLargeBytes) + "): --whole, or a larger --sample-bytes, restores them"},
		{l.Missing, "not in the recovery point, or not all of it"},
		{l.Older, "older versions and delete markers, which a folder does not hold"},
		{l.Unheld, "devices, fifos and sockets, which were not made"},
	} {
		if x.n > 0 {
			say("not looked at: %s %s", thousands(x.n), x.text)
		}
	}
	return out
}

func (x *rehearsing) print(l rehearsedJSON, res *rehearse.Result) error {
	if x.ui.json {
		return x.ui.object(l)
	}
	how := "seed " + l.Seed
	if l.Seed == "" {
		how = "the whole"
	}
	text := fmt.Sprintf("%s@%.12s, %s: %s", l.Source, l.Point, how, l.Status)
	for _, s := range l.Statement {
		text += "\n" + s
	}
	for _, c := range l.Ran {
		text += fmt.Sprintf("\ncheck %s: %s", safe(c.Command), c.Status)
		if c.Detail != "" {
			text += ": it " + printable(c.Detail)
		}
		text += fmt.Sprintf(" (%.1f s)", c.Seconds)
	}
	if x.scratch.keep {
		text += "\nwhat was restored is in " + safe(res.Folder)
	}
	return x.ui.text(text)
}

// percent gives a share in percent, percentUp rounded up to two digits: at most is not to be less.
func percent(share float64) float64 { return math.Round(share*1e8) / 1e6 }

func percentUp(share float64) float64 {
	p := share * 100
	if p <= 0 || p >= 100 {
		return min(max(p, 0), 100)
	}
	unit := math.Pow(10, math.Floor(math.Log10(p))-1)
	up, err := strconv.ParseFloat(strconv.FormatFloat(math.Ceil(p/unit-1e-9)*unit, 'g', 3, 64), 64)
	if err != nil {
		return p
	}
	return min(up, 100)
}

// thousands writes a number with commas.
func thousands[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plainEntries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return thousands(n) + " entries"
}

// spell writes seconds for people, in one unit.
func spell(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.2f s", s)
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 100:
		return fmt.Sprintf("%.0f s", s)
	case s < 100*60:
		return fmt.Sprintf("%.0f min", s/60)
	case s < 100*3600:
		return fmt.Sprintf("%.0f h", s/3600)
	}
	return fmt.Sprintf("%.0f days", s/86400)
}

// wordsOf takes a command apart: a JSON list as it is, or words between blanks, which quotes and backslashes hold together. There is no shell, so nothing
// else has a meaning.
func wordsOf(s string) (out []string, err error) {
	if strings.HasPrefix(strings.TrimSpace(s), "[") {
		if err := json.Unmarshal([]byte(s), &out); err != nil {
			return nil, fmt.Errorf("%s: not a list of words: %w", safe(s), err)
		}
	} else if out, err = split(s); err != nil {
		return nil, err
	}
	if len(out) == 0 || out[0] == "" {
		return nil, errors.New("no program is named: give a command such as 'CMD {}'")
	}
	return out, nil
}

func split(s string) (out []string, err error) {
	var word strings.Builder
	var quote rune // the one that is open
	in, escaped := false, false
	for _, c := range s {
		switch {
		case escaped:
			escaped = false
			word.WriteRune(c)
		case c == '\\' && quote != '\'':
			in, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			in, quote = true, c
		case c == ' ' || c == '\t' || c == '\n':
			if in {
				out = append(out, word.String())
				word.Reset()
			}
			in = false
		default:
			in = true
			word.WriteRune(c)
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("%s: a quote or a backslash is left open", safe(s))
	}
	if in {
		out = append(out, word.String())
	}
	return out, nil
}
