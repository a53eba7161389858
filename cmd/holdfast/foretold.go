package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// tellUnused warns of patterns that left nothing out, once the whole source was listed.
func (j *telling) tellUnused(name string, src source.Source) {
	e, ok := src.(source.Excluder)
	if !ok {
		return
	}
	// Of a list that several sources share, most patterns match nothing in one of them.
	unused := e.UnusedExcludes()
	if s, ok := j.config.Source(name); ok {
		unused = slices.DeleteFunc(unused, func(p string) bool { return !slices.Contains(s.Exclude, p) })
	}
	for i, pattern := range unused {
		if i == maxListed {
			break
		}
		j.ui.warn("source %s: exclude %s matches nothing; globs match the whole key: for a folder write dir/, for one at any depth **/dir/", name, safe(pattern))
	}
}

// tellReread says, once a source, that a retention that names only some spans means less than it did.
func (j *telling) tellReread(s config.Source, r *backup.Result) {
	c := r.Reread
	if c == nil {
		return
	}
	date := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	j.ui.warn("source %s: spans that its retention does not name are 0 now; until now they had their default. The point of %s is kept until %s and would be kept "+
		"until %s today; the new one is kept until %s, before it would have been until %s. If that is too short, name the spans: retention: {daily: 35d, weekly: 12w, monthly: 12mo}",
		s.Name, date(c.Last), date(c.Was), date(c.Is), date(c.Next), date(c.NextBefore))
}

// fateJSON is what would become of an entry, for scripts.
type fateJSON struct {
	Source    string `json:"source"`
	Action    string `json:"action"` // added, changed, deleted, unchanged, read again, missing
	Key       string `json:"key"`
	KeyB64    string `json:"key_b64,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	Size      int64  `json:"size"`
	Missing   string `json:"missing,omitempty"`
	DryRun    bool   `json:"dry_run"`
}

// tellFates prints what would become of every entry, in a dry run that is asked for more or for JSON.
func (j *telling) tellFates(name string, dry bool) func(backup.Fate, *format.Entry) {
	if !dry || !j.ui.json && !j.ui.verbose {
		return nil
	}
	return func(f backup.Fate, e *format.Entry) {
		line := fateJSON{Source: name, Action: string(f), Key: e.Key, KeyB64: b64(e.Key), VersionID: e.Version, Size: e.Size, Missing: e.Missing, DryRun: true}
		if j.ui.json {
			_ = j.ui.object(line) // a failure to write is kept, and ends the command
			return
		}
		text := fmt.Sprintf("%s: %s %s, %s", name, f, safe(e.Key), size(e.Size))
		if e.Version != "" {
			text += ", version " + safe(e.Version)
		}
		_ = j.ui.text(strings.TrimSuffix(text+": "+e.Missing, ": "))
	}
}

// nextPoint is until when the next point of a source is going to be held in a vault.
type nextPoint struct {
	Source      string `json:"source"`
	RetainUntil string `json:"retain_until"`
	LockedUntil string `json:"locked_until,omitempty"`
}

// nextPoints tells how long the next complete point of each source will be held in one vault, as far as the points say that it
// holds. It costs a listing, and where they are many the newest point's list, else their commit objects.
func (j *telling) nextPoints(ctx context.Context, vault string) ([]nextPoint, error) {
	i := slices.IndexFunc(j.repoVaults(nil), func(v *repo.Vault) bool { return v.Name == vault })
	v := j.repoVaults(nil)[i]
	known, err := j.trusts.knownRepository(j.config, j.pin)
	if err != nil {
		return nil, err
	}
	found, err := repo.Find(ctx, v.Read, known.Pin, nil)
	if err != nil {
		return nil, err
	}
	earlier := map[string][]retain.Earlier{}
	for p, err := range browse.Points(ctx, browse.View{Repository: found, In: v.Read}, "") {
		if err != nil {
			return nil, err
		}
		if p.Complete() && !p.Empty() && !p.Distrusted {
			earlier[p.Source] = append(earlier[p.Source], retain.Earlier{
				TakenAt: p.Line.TakenAt.Time, RetainUntil: p.Line.RetainUntil.Time, Complete: true, Slots: p.Line.Slots,
			})
		}
	}
	var out []nextPoint
	for _, s := range j.config.Sources {
		if !slices.Contains(s.Vaults, vault) {
			continue
		}
		until := retain.Decide(s.Retention, j.now(), earlier[s.Name]).RetainUntil
		n := nextPoint{Source: s.Name, RetainUntil: until.Format(time.RFC3339)}
		if v.Locking.Mode != store.ModeNone {
			n.LockedUntil = until.Add(v.Locking.Slack).Format(time.RFC3339)
		}
		out = append(out, n)
	}
	return out, nil
}
