package repo

import (
	"context"
	"errors"
	"io"

	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// Fate is what an error says of the stored object that was asked for.
type Fate int

// The fates of a stored object.
const (
	OutOfReach Fate = iota // nothing is said of it: the vault, the network or the credentials are in trouble, or the caller gave up
	Refused                // the vault does not give it, for a reason of its own, and may well give others
	Gone                   // it is not there
	Spoilt                 // what is there are not its bytes, or no bytes that can be used
	Newer                  // it needs a newer program
	Foreign                // no key of the repository signed it, or it is of a draft of the format
)

// Lost reports whether an object's bytes cannot be had, and asking again will not help.
func (f Fate) Lost() bool { return f == Gone || f == Spoilt }

// Unusable reports whether this program cannot read an object, now or later: it is lost, or needs a newer one.
func (f Fate) Unusable() bool { return f.Lost() || f == Newer }

// OfObject reports whether only this object is concerned, so that whoever goes through many passes over it.
func (f Fate) OfObject() bool { return f != OutOfReach }

// Classify tells what err says of a stored object, or of something in one: the one place where that is decided. It is OutOfReach
// for a nil error, and wherever ctx has ended, since an error says nothing then.
func Classify(ctx context.Context, err error) Fate {
	is := func(kinds ...error) bool {
		for _, kind := range kinds {
			if errors.Is(err, kind) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil, ctx.Err() != nil, store.Retryable(err),
		is(store.ErrStalled, store.ErrCredentials, store.ErrClock, store.ErrNoBucket, errLeftOut): // the same would come of any other object
		return OutOfReach
	case is(format.ErrNewer):
		return Newer
	case is(format.ErrSignature, format.ErrDraft, errNoDescriptor):
		return Foreign
	case is(ErrMissing, store.ErrNotFound):
		return Gone
	case is(ErrDamaged, ErrWrongBytes, pack.ErrDamaged, seal.ErrDamaged, format.ErrMalformed, format.ErrBounds, io.ErrUnexpectedEOF):
		return Spoilt
	case errors.As(err, new(*store.Error)):
		return Refused
	}
	return OutOfReach
}
