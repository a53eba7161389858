package evidence_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

// Names tells gaps, what is there twice and what no key signed, and reads no record.
func TestNames(t *testing.T) {
	r := newRig(t, 1)
	for _, k := range []string{"a", "b", "c", "d"} {
		r.add(k)
	}
	want := func(series string, found ...string) {
		t.Helper()
		var got, wrong []string
		must(t, evidence.Names(t.Context(), evidence.Options{
			Vault: unread{r.stores[0]}, Repository: r.repo, Key: r.key1, Report: func(f evidence.Finding) { wrong = append(wrong, string(f.Kind)) },
		}, func(name string) { wrong = append(wrong, "foreign") }, func(n evidence.Named) {
			got = append(got, fmt.Sprintf("%s %d %d", n.Reporter, n.Records, n.Last))
		}))
		if strings.Join(got, ",") != series || !slices.Equal(wrong, found) {
			t.Errorf("%q %q, want %q %q", got, wrong, series, found)
		}
	}
	want("web-1 4 3")
	names := r.names(0)
	thief := r.stores[0].Attacker()
	must(t, thief.Lose(names[1]))
	want("web-1 3 3", "missing")
	thief.Overwrite("reports/x", nil)
	want("web-1 3 3", "missing", "foreign")
	must(t, thief.Lose(names[3]))
	want("web-1 2 2", "missing", "foreign")
}

// unread is a vault of which nothing is read but listings.
type unread struct{ store.Reader }

func (unread) Open(context.Context, store.Ref, int64, int64) (io.ReadCloser, error) {
	return nil, errDown
}
