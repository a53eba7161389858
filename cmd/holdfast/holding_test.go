package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

// clockOf is a vault that tells a time.
type clockOf time.Time

func (c clockOf) Inspect(context.Context) (store.Facts, error) {
	return store.Facts{Clock: time.Time(c)}, nil
}

// A vault whose clock is wrong says of no hold that it is over, and of no other that it may not begin: it is left out, and gets its records later.
func TestEvidenceGoesByClocksThatAreRight(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, off := range []time.Duration{-10 * 365 * 24 * time.Hour, -6 * time.Minute, 6 * time.Minute, 200 * 365 * 24 * time.Hour} {
		j := &job{
			app:    &app{now: func() time.Time { return now }},
			config: &config.Config{Vaults: []config.Vault{{Name: "lies"}, {Name: "right"}}},
			vaults: []*vault{{name: "lies", once: clockOf(now.Add(off))}, {name: "right", once: clockOf(now.Add(time.Minute))}},
		}
		got, vaults := j.evidenceVaults(t.Context())
		if !got.Equal(now.Add(time.Minute)) || !errors.Is(vaults[0].Err, store.ErrClock) || vaults[1].Err != nil {
			t.Errorf("%s off: %s, %+v", off, got, vaults)
		}
		j.vaults = j.vaults[:1]
		if got, _ = j.evidenceVaults(t.Context()); !got.IsZero() {
			t.Errorf("%s off, and no other vault: %s", off, got)
		}
	}
}

// Holds of people and of the guard have a bound each, so that neither takes the room of the other.
func TestFewerHolds(t *testing.T) {
	var all []evidence.Held
	for i := range 3 * evidence.MaxHolds {
		h := evidence.Held{Hold: evidence.Hold{By: evidence.ByGuard}}
		if i%3 == 0 {
			h.By = ""
		}
		all = append(all, h)
	}
	if got := fewerHolds(append(all, evidence.Held{})); heldBy(got, "") != evidence.MaxHolds || heldBy(got, evidence.ByGuard) != evidence.MaxHolds {
		t.Errorf("%d of people, %d of the guard", heldBy(got, ""), heldBy(got, evidence.ByGuard))
	}
}

// What takes --notify tells somebody: receivers can be told of it.
func TestWhoTakesNotifyTells(t *testing.T) {
	recipient, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range (&app{ui: &ui{}, now: time.Now}).share().rootCommand().Commands() {
		if c.Flags().Lookup("notify") == nil {
			continue
		}
		n++
		file := filepath.Join(t.TempDir(), "holdfast.yaml")
		text := fmt.Sprintf("vaults: [{name: v, url: \"file:///v\"}]\nkeys: {recipients: [%s]}\nnotify: [{webhook: {url: \"https://hooks.example.com\", on: [%s]}}]\n", recipient.Recipient(), c.Name())
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(file); err != nil {
			t.Error(err)
		}
	}
	if n < 5 {
		t.Errorf("%d commands", n)
	}
}
