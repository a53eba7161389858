package watch_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store"
)

// TestHealthyYear: a year of nightly runs with records, prunings every week and renewals every month is looked at after each run and often at noon, and nothing is
// ever told. A look asks less than it may. The vault is a compliance one for the most part, as it is by default.
func TestHealthyYear(t *testing.T) {
	days := 365
	if testing.Short() {
		days = 120
	}
	for name, c := range map[string]struct {
		mode store.Mode
		days int
	}{"compliance": {store.Compliance, days}, "governance": {store.Governance, 20}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, lifetest.Options{Mode: c.mode, Retention: retain.Policy{
				Daily: retain.Span{Duration: 14 * day}, Weekly: retain.Span{Duration: 42 * day}, Monthly: retain.Span{Months: 4},
			}})
			p.begin(1)
			most := int64(0)
			for i := range c.days {
				before := p.asked.Snapshot().Calls().Calls
				p.w.Pass(12 * time.Hour)
				if i%3 == 0 {
					p.silent()
				}
				most = max(most, p.asked.Snapshot().Calls().Calls-before)
				p.w.Pass(12 * time.Hour)
				p.night(i%7 == 0) // all records are checked at each look: of a year of nights that would be half a million
				if i%7 == 6 {
					_, err := p.w.Prune(t.Context(), p.w.Remover(), nil)
					p.must(err)
				}
				if i%30 == 29 {
					p.renew()
				}
				p.silent()
			}
			if pruned := len(p.w.Removed); pruned == 0 && c.days > 60 {
				t.Error("nothing was ever pruned")
			}
			if most > 250 {
				t.Errorf("a look asked %d things", most)
			}
			t.Logf("%d points at the end; at most %d requests a look", len(p.points()), most)
		})
	}
}

// renew lengthens locks as the command does.
func (p *post) renew() {
	p.Helper()
	found, err := p.w.Repository(p.Context())
	p.must(err)
	scratch, err := needed.NewScratch(p.TempDir())
	p.must(err)
	_, err = renew.Run(p.Context(), renew.Options{Repository: found, Vault: p.w.Vault, Scratch: scratch.Cache, Now: p.w.Now})
	p.must(err)
	p.must(scratch.Close())
}
