package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/rotation"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

// turnJSON is what the summary of a verification in turns has beside the others.
type turnJSON struct {
	Budget          string  `json:"budget,omitempty"`
	RotationRead    int64   `json:"rotation_read"`    // bytes, or locks at level locks, of this turn
	RotationDays    int64   `json:"rotation_days"`    // within so many days all is read, with a turn each day; 0: no rate is known yet
	RotationCovered float64 `json:"rotation_covered"` // percent of what is living that was read since it was stored
	RotationOldest  string  `json:"rotation_oldest"`  // when what was not read for longest was last read, or else stored; empty: nothing is living
	RotationLocks   bool    `json:"rotation_locks"`   // locks were read in their turn, with the bytes or alone
	RotationLeft    bool    `json:"rotation_left"`    // something is due that the day's budget leaves for the next
	RotationUnread  int64   `json:"rotation_unread"`  // objects that could not be read now
}

// turnRecord is what a record says of what was read, so that a machine without its cache goes on from there.
type turnRecord struct {
	Vault string          `json:"vault"`
	State *rotation.State `json:"state"`
}

// parseBudget reads 2h, 200GB, or at level locks a number of requests.
func parseBudget(s string, level verify.Level) (b rotation.Budget, err error) {
	if span, err := retain.Parse(s); err == nil && !strings.HasSuffix(s, "B") && s != "0" {
		if span.Months != 0 || span.Duration <= 0 || span.Duration > 24*time.Hour {
			return b, usage(fmt.Errorf("--budget %s: it is the budget of one day: give at most 24h", safe(s)))
		}
		return rotation.Budget{Time: span.Duration}, nil
	}
	if level == verify.Locks {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n <= 0 || n > 1e12 {
			return b, usage(fmt.Errorf("--budget %s: with --level locks give a time such as 30m, or a number of requests such as 20000", safe(s)))
		}
		return rotation.Budget{Cost: n}, nil
	}
	n, err := config.ParseSize(s)
	if err != nil {
		return b, usage(fmt.Errorf("--budget %s: give a time such as 2h, or a size such as 200GB", safe(s)))
	}
	if n <= 0 {
		return b, usage(fmt.Errorf("--budget %s: nothing would ever be read", safe(s)))
	}
	return rotation.Budget{Cost: n}, nil
}

// turns is the rotation of the vault that is verified.
type turns struct {
	*verifying
	budget string
	state  *rotation.State
	file   *cache.Turns
}

// errTurns: there is nowhere to remember what was read.
var errTurns = errors.New("what was read is remembered in the cache of a configuration, by the vault's name there: name a configured vault")

// openTurns takes the rotation of the vault. Where this machine remembers nothing, it goes on from the newest record.
func (r *verifying) openTurns(ctx context.Context, budget string) (*turns, error) {
	if !r.runs.isConfigured() || !r.repo.Vouched() {
		return nil, usage(fmt.Errorf("--budget: %w", errTurns))
	}
	dir, err := r.cacheDir(r.config, r.repo.CacheID())
	if err != nil {
		return nil, unusableCache(err)
	}
	file, err := cache.OpenTurns(dir, r.vault.name)
	if err != nil {
		return nil, err
	}
	t := &turns{verifying: r, budget: budget, file: file}
	if err := t.load(ctx); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func (t *turns) load(ctx context.Context) error {
	b, err := t.file.Load()
	if err == nil && b != nil {
		t.state, err = t.decode(b)
	}
	if err != nil {
		t.ui.warn("what was read of vault %s before is not known: %v", t.vault.name, err)
		t.state = nil
	}
	if t.state != nil {
		return nil
	}
	t.state = &rotation.State{Of: t.vault.url.Mark()}
	var at time.Time
	_, err = evidence.Latest(ctx, evidence.Of(t.vault.Reader, t.repo), maxTurnRecords, func(f evidence.Found) bool {
		var body struct {
			Rotation *struct {
				Vault string          `json:"vault"`
				State json.RawMessage `json:"state"`
			} `json:"rotation"`
		}
		if f.Newer || f.Record.Type != "verify" || json.Unmarshal(f.Record.Body, &body) != nil || body.Rotation == nil || body.Rotation.Vault != t.vault.name {
			return true
		}
		s, err := t.decode(body.Rotation.State)
		if err != nil {
			return true
		}
		t.state.Join(s)
		at = f.Record.Time.Time
		return false
	})
	if err != nil {
		return fmt.Errorf("records of what was read: %w", err)
	}
	if !at.IsZero() {
		t.ui.remark("This machine does not remember what was read of vault %s; it goes on from the record of %s.", t.vault.name, at.UTC().Format(timeForm))
	}
	return nil
}

// errOtherVault: a name that stands for another place than it did.
var errOtherVault = errors.New("it was read in another place, which had this vault's name then")

// decode reads what is remembered. What was read elsewhere says nothing of this vault.
func (t *turns) decode(b []byte) (*rotation.State, error) {
	s, err := rotation.Decode(b, t.now())
	if err != nil {
		return nil, err
	}
	if mark := t.vault.url.Mark(); s.Of == "" {
		s.Of = mark // of a version that did not say it
	} else if s.Of != mark {
		return nil, errOtherVault
	}
	return s, nil
}

// maxTurnRecords is how many records are read to find one of a turn.
const maxTurnRecords = 400

func (t *turns) save() error {
	b, err := t.state.Encode()
	if err != nil {
		return err
	}
	return t.file.Save(b)
}

// record gives what a record says of it.
func (t *turns) record() *turnRecord {
	return &turnRecord{Vault: t.vault.name, State: t.state}
}

// judge says what is wrong with how a rotation stands, by verify.every of the configuration.
func (t *turns) judge(s verify.Summary) (out alarms) {
	every := t.config.VerifyEvery
	if every.IsZero() {
		return nil
	}
	what := "stored bytes were"
	if s.Level == verify.Locks {
		what = "locks were"
	}
	now := t.now()
	if oldest := s.Turn.Oldest; !oldest.IsZero() && every.AddTo(oldest).Before(now) {
		out = append(out, notify.Finding{Kind: "overdue", Vault: t.vault.name, Text: fmt.Sprintf("vault %s: some %s last read, or else stored, on %s: longer ago than verify.every, %s",
			t.vault.name, what, oldest.UTC().Format(time.DateOnly), every)})
	}
	if n := s.Turn.Days; n > 0 && every.AddTo(now).Before(now.AddDate(0, 0, int(min(n, 1<<20)))) {
		days := int64(every.AddTo(now).Sub(now).Hours() / 24)
		need := s.Turn.Living
		if days > 0 {
			need = (s.Turn.Living+days-1)/days + s.Turn.Largest
		}
		enough := size(need) + " a day"
		if s.Level == verify.Locks {
			enough = fmt.Sprintf("%d requests a day", need)
		}
		out = append(out, notify.Finding{Kind: "overdue", Vault: t.vault.name, Text: fmt.Sprintf("vault %s: with --budget %s reading all of it takes %s, longer than verify.every, %s; about %s would do",
			t.vault.name, t.budget, plural(n, "day", "days"), every, enough)})
	}
	return out
}

// line gives what the summary has of a turn; nil: it was none.
func (t *turns) line(s verify.Summary) *turnJSON {
	if t == nil || s.Turn == nil {
		return nil
	}
	out := &turnJSON{Budget: t.budget, RotationRead: s.Turn.Read, RotationDays: s.Turn.Days, RotationLeft: s.Turn.Left, RotationLocks: t.vault.url.Locks(), RotationUnread: s.Turn.Unread, RotationCovered: 100}
	if s.Turn.Living > 0 {
		out.RotationCovered = float64(int64(10000*float64(s.Turn.Covered)/float64(s.Turn.Living))) / 100
	}
	if !s.Turn.Oldest.IsZero() {
		out.RotationOldest = s.Turn.Oldest.UTC().Format(time.RFC3339)
	}
	return out
}

// text says it for people.
func (t *turns) text(s verify.Summary) string {
	l, amount := t.line(s), func(n int64) string { return size(n) }
	if s.Level == verify.Locks {
		amount = func(n int64) string { return plural(n, "lock", "locks") }
	}
	out := fmt.Sprintf("Read in this turn: %s.", amount(l.RotationRead))
	switch {
	case l.RotationRead == 0 && l.RotationLeft:
		out = "Nothing was read: today's budget is used up, and the next turn is tomorrow (days are those of UTC)."
	case l.RotationRead == 0 && l.RotationUnread == 0:
		out = "Nothing was due: all of it had its turn today."
		if l.RotationCovered < 100 {
			out = "Nothing was due: all of it had its turn today; what was stored after that is read in its next turn."
		}
	}
	if l.RotationDays > 0 {
		out += fmt.Sprintf(" With one turn a day all of it is read within %s.", plural(l.RotationDays, "day", "days"))
	}
	out += fmt.Sprintf(" So far %g%% were read since they were stored", l.RotationCovered)
	if l.RotationOldest != "" {
		out += "; what waits longest was last read, or else stored, on " + l.RotationOldest[:10]
	}
	return out + "."
}

// wholeRead notes that all of the vault was read, by a verification of the whole of it, but for what was wrong.
func (r *verifying) wholeRead(ctx context.Context, o verify.Options, began time.Time, wrong []string) {
	if !r.runs.isConfigured() || !r.repo.Vouched() || r.config.VerifyEvery.IsZero() || len(o.Points) > 0 || o.Sample < 100 && o.Level != verify.Locks {
		return
	}
	t, err := r.openTurns(ctx, "")
	if err == nil {
		t.state.Locks.MarkAll(began, wrong)
		if o.Level != verify.Locks {
			t.state.Bytes.MarkAll(began, wrong)
		}
		err = errors.Join(t.save(), t.file.Close())
	}
	if err != nil {
		r.ui.warn("that all was read is not noted for `verify --budget`: %v", err)
	}
}
