package repo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// What an error says of a stored object does not depend on who asks.
func TestClassify(t *testing.T) {
	answer := func(kind, cause error) error {
		return fmt.Errorf("read: %w", &store.Error{Op: "open", Vault: "s3://b", Ref: store.Ref{Name: "packs/x"}, Kind: kind, Err: cause})
	}
	for _, c := range []struct {
		err  error
		want repo.Fate
	}{
		{nil, repo.OutOfReach},
		{errors.New("something else"), repo.OutOfReach},
		{context.Canceled, repo.OutOfReach},
		{context.DeadlineExceeded, repo.OutOfReach}, // of a client's own
		{seal.ErrNoKey, repo.OutOfReach},            // the reader's trouble
		{repo.ErrNeedKey, repo.OutOfReach},
		{answer(store.ErrTransient, nil), repo.OutOfReach},
		{answer(store.ErrThrottled, nil), repo.OutOfReach},
		{answer(store.ErrStalled, nil), repo.OutOfReach},
		{answer(store.ErrCredentials, nil), repo.OutOfReach},
		{answer(store.ErrClock, nil), repo.OutOfReach},
		{answer(store.ErrNoBucket, nil), repo.OutOfReach},                  // no object is lost for that: the bucket's name is wrong, or all are
		{answer(store.ErrTransient, io.ErrUnexpectedEOF), repo.OutOfReach}, // a connection that broke is no damage
		{answer(nil, nil), repo.Refused},
		{answer(store.ErrDenied, nil), repo.Refused},
		{answer(store.ErrUnsupported, nil), repo.Refused},
		{answer(store.ErrTooLarge, nil), repo.Refused},
		{answer(store.ErrNotFound, nil), repo.Gone},
		{fmt.Errorf("packs/x: %w", repo.ErrMissing), repo.Gone},
		{answer(io.ErrUnexpectedEOF, nil), repo.Spoilt}, // the object ends before the range begins
		{fmt.Errorf("packs/x: %w", io.ErrUnexpectedEOF), repo.Spoilt},
		{fmt.Errorf("%w (%w)", repo.ErrDamaged, repo.ErrWrongBytes), repo.Spoilt},
		{repo.ErrWrongBytes, repo.Spoilt},
		{pack.ErrDamaged, repo.Spoilt},
		{seal.ErrDamaged, repo.Spoilt},
		{format.ErrMalformed, repo.Spoilt},
		{format.ErrBounds, repo.Spoilt},
		{fmt.Errorf("point: %w", format.ErrNewer), repo.Newer},
		{format.ErrSignature, repo.Foreign},
		{format.ErrDraft, repo.Foreign},
	} {
		got := repo.Classify(t.Context(), c.err)
		if got != c.want {
			t.Errorf("%v: %d, not %d", c.err, got, c.want)
		}
		if got.Lost() != (c.want == repo.Gone || c.want == repo.Spoilt) || got.OfObject() != (c.want != repo.OutOfReach) {
			t.Errorf("%v: lost %v, of the object alone %v", c.err, got.Lost(), got.OfObject())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := repo.Classify(ctx, c.err); got != repo.OutOfReach {
			t.Errorf("%v, of a caller that has ended: %d", c.err, got)
		}
	}
}
