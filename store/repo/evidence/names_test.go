package evidence_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
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

// A listing tells the same gaps, and what junk can do about it is hide one.
func TestGaps(t *testing.T) {
	r := newRig(t, 1)
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		r.add(k)
	}
	want := func(found ...string) {
		t.Helper()
		for _, most := range []int{0, 2} {
			var wrong []string
			_, err := evidence.List(t.Context(), evidence.Options{
				Vault: unread{r.stores[0]}, Repository: r.repo, Key: r.key1,
				Gaps: func(f evidence.Finding) { wrong = append(wrong, string(f.Kind)+" "+f.Detail) },
			}, most)
			must(t, err)
			if !slices.Equal(wrong, found) {
				t.Errorf("%d: %q instead of %q", most, wrong, found)
			}
		}
	}
	want()
	names := r.names(0)
	thief := r.stores[0].Attacker()
	junk := func(of, as string) { thief.Overwrite(strings.Replace(names[0].Name, of, as, 1), []byte("x")) }
	junk("-00000000-", "-00000009-")
	junk("-00000000-", "-00000001-")
	want()
	must(t, thief.Lose(names[3]))
	want("missing number 3 before it is not there")
	must(t, thief.Lose(names[2]))
	want("missing numbers 2 to 3 before it are not there")

	id, err := format.ParseRecordName(names[4].Name)
	must(t, err)
	id.Sum = format.Hash{7}
	id.Signature = attest.Sign(r.key.Signing, attest.Record, id.Message(r.repo))
	thief.Overwrite(id.Name(), []byte("y"))
	want("missing numbers 2 to 3 before it are not there", "forked number 4 is there twice")
	must(t, thief.Lose(names[0]))
	want("missing number 0 before it is not there", "missing numbers 2 to 3 before it are not there", "forked number 4 is there twice")
}

// unread is a vault of which nothing is read but listings.
type unread struct{ store.Reader }

func (unread) Open(context.Context, store.Ref, int64, int64) (io.ReadCloser, error) {
	return nil, errDown
}
