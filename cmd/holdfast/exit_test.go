package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
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
		{wrap(credentials.ErrUnset), 2, "credentials"},
		{wrap(&store.Error{Kind: store.ErrDenied, Err: plain}), 1, "denied"},
		{wrap(&store.Error{Kind: store.ErrCredentials}), 1, "credentials_refused"},
		{wrap(store.ErrClock), 1, "clock"},
		{wrap(errIncomplete), 3, "incomplete"},
		{wrap(errAlarm), 4, "alarm"},
		{wrap(errDamage), 5, "damaged"},
		{context.Canceled, 1, "failed"},
		// 130/143, 2, 5, 1, 3, 4
		{together{errAlarm, errIncomplete}, 3, "incomplete"},
		{together{errAlarm, errIncomplete, plain}, 1, "failed"},
		{together{plain, errDamage, errAlarm}, 5, "damaged"},
		{wrap(together{errDamage, wrap(config.ErrNone), plain}), 2, "config"},
		{together{errAlarm, together{errIncomplete}}, 3, "incomplete"},
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
