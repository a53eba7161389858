package guard_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// replay backs a world up, a run a day, as the program does: into a vault in memory.
type replay struct {
	t     *testing.T
	w     *world
	src   *memsource.Source
	vault []*repo.Vault
	host  *keys.HostKey
	dir   string
	at    map[string]*file // what the source has
	wires map[string]format.Hash
	acks  backup.Acknowledged
}

func newReplay(t *testing.T, w *world, versions bool) *replay {
	r := &replay{t: t, w: w, src: memsource.New(memsource.Options{AllVersions: versions, Now: func() time.Time { return w.now }}), dir: t.TempDir(), at: map[string]*file{}}
	id, err := keys.GenerateIdentity(keys.X25519)
	if err == nil {
		r.host, err = keys.GenerateHostKey(keys.X25519)
	}
	must(t, err)
	s := memstore.New(memstore.Options{Now: func() time.Time { return w.now }})
	r.vault = []*repo.Vault{{Name: "v", Read: s, Write: s, Lock: s, Inspect: s}}
	_, err = repo.Init(t.Context(), repo.InitOptions{Vaults: r.vault, HostKey: r.host, Recipients: []keys.Recipient{id.Recipient()}, Need: 24 * time.Hour, Now: func() time.Time { return w.now }})
	must(t, err)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sync brings the source to what the world is.
func (r *replay) sync() {
	for name, f := range r.w.files {
		was := r.at[name]
		if was == f && !f.locked && !f.marker {
			continue
		}
		switch {
		case f.marker:
			r.src.Delete(name)
			continue
		case f.locked:
			r.src.Fail(name, memsource.Fault{Failure: memsource.Unreadable, Reason: "encrypted with a customer's key (SSE-C)"})
		}
		if was == nil || was.modified != f.modified || was != f || f.locked {
			e := format.Entry{Key: name, Modified: format.At(f.modified)}
			if f.locked {
				e.ETag = "locked"
			}
			r.src.PutEntry(e, f.body)
		}
		r.at[name] = f
	}
	for name := range r.at {
		if r.w.files[name] == nil {
			r.src.Delete(name)
			delete(r.at, name)
		}
	}
}

func (r *replay) run() *backup.Result {
	r.t.Helper()
	now := func() time.Time { return r.w.now }
	s, err := repo.OpenSession(r.t.Context(), repo.SessionOptions{
		Vaults: r.vault, HostKey: r.host, Now: now,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(r.dir, cache.Options{Memory: 4 << 20}) },
	})
	must(r.t, err)
	defer func() { must(r.t, s.Close()) }()
	res, err := backup.Run(r.t.Context(), backup.Options{
		Source: r.src, Name: "site", Session: s, Retention: retain.Policy{Daily: retain.Span{Duration: 35 * 24 * time.Hour}}, TagsMaxAge: -1, Memory: 48 << 20, Now: now,
		Guard: &backup.Guarding{
			Tripwires:    r.wires,
			Acknowledged: func(context.Context) (backup.Acknowledged, error) { return r.acks, nil },
		},
		Remark: func(_, text string) {
			if strings.Contains(text, "guard") {
				r.t.Error(text)
			}
		},
	})
	must(r.t, err)
	return res
}

// outcome is what came of one history.
type outcome struct {
	alarms []string // each with its day, counted from the day on which it happened
	first  int      // day of the first; -1: none
	early  bool     // there was one before anything happened
	most   float64  // share of the source that was touched in a run, at most
}

// after is how many days are replayed behind the one on which it happens.
const after = 8

// measures: warm is how many days come before, and size how many files there are: enough for what the rules need, and in the full form for
// weekdays to be told apart.
func measures() (warm, size int) {
	if os.Getenv("HOLDFAST_GUARD_ROUNDS") != "" {
		return 32, 2000
	}
	return 17, 1200
}

// play replays one history. An alarm is acknowledged at once, so that each day speaks for itself.
func play(t *testing.T, h history, seed uint64) (out outcome) {
	w := newWorld(t, seed)
	warm, size := measures()
	if h.begin != nil {
		h.begin(w)
	} else {
		w.settle(size)
	}
	r := newReplay(t, w, h.name == "delete markers")
	if h.rule == string(guard.Tripwire) {
		body := w.csv(900)
		w.put("docs/ledger.csv", body)
		r.wires = map[string]format.Hash{"docs/ledger.csv": sumOf(body)}
	}
	days, from := warm+after, warm
	if h.days > 0 {
		days, from = h.days, h.days
	}
	out.first = -1
	// Which day of the week it happens on is drawn.
	w.now = w.now.AddDate(0, 0, w.rnd.IntN(7))
	for day := range days {
		if day > 0 {
			if h.quiet {
				w.now = w.now.Add(24 * time.Hour)
			} else {
				w.day()
			}
			h.step(w, day-from)
			if w.wire && day == from {
				w.spoil("docs/ledger.csv", w.encrypt(w.files["docs/ledger.csv"].body, 0))
			}
		}
		r.sync()
		res := r.run()
		out.most = max(out.most, float64(len(w.touched))/float64(max(w.entries, 1)))
		said := ""
		if res.Emptied != nil {
			said = "empty"
		}
		if res.Suspect != nil {
			for _, f := range res.Suspect.Findings {
				said += fmt.Sprintf(" %s(%d)", f.Rule, f.Count)
				t.Logf("day %d: %s: %s", day-from, f.Rule, f.Text)
			}
			r.acks = backup.Acknowledged{Until: res.SignedAt}
		}
		if said == "" {
			continue
		}
		out.alarms = append(out.alarms, fmt.Sprintf("day %d: %s", day-from, said))
		if out.first < 0 {
			out.first, out.early = day-from, day < from && h.days == 0
		}
	}
	return out
}

// rounds is how often everything is replayed: HOLDFAST_GUARD_ROUNDS, each with a seed of its own.
func rounds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_GUARD_ROUNDS"))
	if err != nil {
		return 1
	}
	return n
}

// TestReplay replays histories, 18 of owners and 12 of attackers in each round, and counts alarms: every attack is seen that touches
// 5 %, or a tripwire, in the run in which it does, the slow ones within a week; of the others at most one in a round gives an alarm.
func TestReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("replays months")
	}
	seed := seeds(t)
	var mu sync.Mutex
	var lines []string
	total, wrong := map[string]int{}, map[string]int{}
	perRound := map[int]int{}
	for round := range rounds(t) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			each := func(class string, list []history) {
				for _, h := range list {
					t.Run(strings.ReplaceAll(class+"/"+h.name, " ", "-"), func(t *testing.T) {
						t.Parallel()
						f := fnv.New64a()
						fmt.Fprint(f, seed, round, h.name)
						o := play(t, h, f.Sum64())
						bad := false
						switch class {
						case "benign":
							bad = o.first >= 0 || o.early
						case "attack", "more":
							bad = o.first != 0 && !(h.slow && o.first >= 0 && o.first < 7)
							if o.most < 0.05 && !h.slow && h.rule == "" && h.name != "emptied listing" {
								t.Errorf("it touches %.1f %% at most", 100*o.most)
							}
						case "untold":
							bad = o.first < 0
						}
						mu.Lock()
						defer mu.Unlock()
						total[class]++
						if bad {
							wrong[class]++
						}
						if bad && class == "benign" {
							perRound[round]++
						}
						lines = append(lines, fmt.Sprintf("%-7s %-52s %s", class, h.name, orNone(o.alarms)))
						if bad && (class == "attack" || class == "more") {
							t.Errorf("not seen in time: %v", o.alarms)
						}
					})
				}
			}
			all := benign()
			for module := range modules {
				all = append(all, ofReleases(t, module))
			}
			each("benign", all)
			each("attack", attacks())
			each("more", more())
			each("untold", untold())
		})
	}
	slices.Sort(lines)
	t.Logf("\n%s", strings.Join(lines, "\n"))
	t.Logf("without harm: %d of %d histories gave an alarm; attacks: %d of %d not seen in time, %d of %d more; not told apart: %d of %d not seen",
		wrong["benign"], total["benign"], wrong["attack"], total["attack"], wrong["more"], total["more"], wrong["untold"], total["untold"])
	for round, n := range perRound {
		if n > 1 {
			t.Errorf("round %d: %d histories without harm gave an alarm", round, n)
		}
	}
}

func orNone(alarms []string) string {
	if len(alarms) == 0 {
		return "no alarm"
	}
	if len(alarms) > 3 {
		alarms = append(slices.Clone(alarms[:3]), "..")
	}
	return strings.Join(alarms, "; ")
}
