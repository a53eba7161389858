package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestExitOf(t *testing.T) {
	plain := errors.New("a thing went wrong")
	wrap := func(err error) error { return fmt.Errorf("source x: %w", err) }
	for i, c := range []struct {
		err  error
		code int
		name string
	}{
		{nil, 0, ""},
		{plain, 1, "failed"},
		{usage(plain), 2, "usage"},
		{wrap(usage(plain)), 2, "usage"},
		{wrap(config.ErrNone), 2, "config"},
		{wrap(&config.Error{}), 2, "config"},
		{wrap(keys.ErrFileMode), 2, "key"},
		{wrap(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), 1, "unreachable"},
		{wrap(credentials.ErrUnset), 2, "credentials"},
		{wrap(&store.Error{Kind: store.ErrDenied, Err: plain}), 1, "denied"},
		{wrap(&store.Error{Kind: store.ErrCredentials}), 1, "credentials_refused"},
		{wrap(store.ErrClock), 1, "clock"},
		{wrap(repo.ErrNeedKey), 2, "key"},
		{wrap(seal.ErrNoKey), 2, "key"},
		{wrap(errNoRestoreKey), 2, "key"},
		{wrap(repo.ErrHostKey), 2, "host_key"},
		{wrap(repo.ErrRecipients), 2, "recipients"},
		{wrap(repo.ErrFingerprint), 2, "fingerprint"},
		{wrap(repo.ErrCeiling), 2, "ceiling"},
		{wrap(browse.ErrSpec), 2, "usage"},
		{wrap(browse.ErrAmbiguous), 2, "ambiguous"},
		{wrap(browse.ErrNotFound), 1, "no_point"},
		{wrap(browse.ErrOnlyIncomplete), 1, "only_incomplete"},
		{wrap(cache.ErrBusy), 1, "already_running"},
		{wrap(repo.ErrNoRepository), 1, "no_repository"},
		{wrap(errNotBegun), 1, "no_repository"},
		{wrap(repo.ErrRefused), 1, "refused"},
		{fmt.Errorf("%w: %w", repo.ErrNotLocked, store.ErrNoLock), 1, "no_lock"},
		{wrap(repo.ErrMissing), 5, "damaged"},
		{wrap(repo.ErrDamaged), 5, "damaged"},
		{wrap(fmt.Errorf("%w: %w", repo.ErrAllVaults, store.ErrDenied)), 1, "denied"},
		{wrap(format.ErrNewer), 1, "newer"},
		{wrap(errIncomplete), 3, "incomplete"},
		{wrap(&marked{errIncomplete, store.ErrDenied}), 3, "incomplete"},
		{wrap(errAlarm), 4, "alarm"},
		{wrap(errDamage), 5, "damaged"},
		{context.Canceled, 1, "failed"},
		// 130/143, 2, 5, 1, 4, 3
		{together{errAlarm, errIncomplete}, 4, "alarm"},
		{together{errAlarm, errIncomplete, plain}, 1, "failed"},
		{together{plain, errDamage, errAlarm}, 5, "damaged"},
		{wrap(together{errDamage, wrap(config.ErrNone), plain}), 2, "config"},
		{together{errIncomplete, together{errEmptied}}, 4, "emptied"},
	} {
		if code, name := exitOf(t.Context(), c.err); code != c.code || name != c.name {
			t.Errorf("%d: %v gives %d %s, want %d %s", i, c.err, code, name, c.code, c.name)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&signalled{exitTerminate, "terminated"})
	if code, name := exitOf(ctx, together{usage(plain), errDamage}); code != 143 || name != "terminated" {
		t.Errorf("stopped by a signal: %d %s", code, name)
	}
	if code, _ := exitOf(ctx, nil); code != 0 {
		t.Errorf("done before the signal took effect: %d", code)
	}
}

func TestTogether(t *testing.T) {
	if err := (together{nil, nil}).orNil(); err != nil {
		t.Errorf("nothing is an error: %v", err)
	}
	if err := (together{nil, errAlarm}).orNil(); !errors.Is(err, errAlarm) || err.Error() != errAlarm.Error() {
		t.Errorf("%v", err)
	}
}

// TestCodesAreDocumented: every code a script may meet stands in the operations page with its exit code.
func TestCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Error messages\n")
	if !ok {
		t.Fatal("there is no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	all := append(outcomes(), outcome{code: exitFailed, name: "certificate"}, outcome{code: exitFailed, name: "region"}, outcome{code: exitFailed, name: "failed"})
	for _, o := range all {
		found := false
		for row := range strings.Lines(section) {
			cells := strings.Split(row, "|")
			found = found || len(cells) > 3 && strings.Contains(cells[1], "`"+o.name+"`") && strings.TrimSpace(cells[2]) == fmt.Sprint(o.code)
		}
		if !found {
			t.Errorf("%s, exit code %d, is not in the table", o.name, o.code)
		}
	}
}

// TestNext: what to do, once each, by what lies below.
func TestNext(t *testing.T) {
	refused := &marked{errIncomplete, fmt.Errorf("vault x: %w", store.ErrCredentials)}
	for i, c := range []struct {
		err  error
		want []string
	}{
		{nil, nil},
		{errors.New("plain"), nil},
		{usage(errors.New("plain")), nil},
		{fmt.Errorf("source x: %w", store.ErrDenied), []string{next("denied")}},
		{refused, []string{next("credentials_refused")}},
		{together{refused, nil, refused, &marked{errAlarm, errors.New("x")}}, []string{next("credentials_refused"), next("alarm")}},
		{fmt.Errorf("source x: %w", together{store.ErrNoSpace, fmt.Errorf("y: %w", together{store.ErrClock})}), []string{next("no_space"), next("clock")}},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, []string{next("certificate")}},
	} {
		if got := nextOf(t.Context(), c.err); !slices.Equal(got, c.want) {
			t.Errorf("%d: %v gives %q, want %q", i, c.err, got, c.want)
		}
	}
}
