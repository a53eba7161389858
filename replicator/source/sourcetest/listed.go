package sourcetest

import (
	"context"
	"errors"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
)

// At gives a source at an endpoint, with credentials that it asks for.
type At func(t *testing.T, endpoint string, get store.CredentialsFunc) source.Source

// List lists the source at an endpoint to its end, with some credentials.
func (at At) List(ctx context.Context, t *testing.T, endpoint string) error {
	return at.ListAs(ctx, t, endpoint, func(context.Context) (store.Credentials, error) {
		return store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
	})
}

// ListAs is List with credentials of the caller's.
func (at At) ListAs(ctx context.Context, t *testing.T, endpoint string, get store.CredentialsFunc) error {
	return Listed(ctx, at(t, endpoint, get))
}

// Listed opens a source and lists it to its end, and gives what goes wrong on the way.
func Listed(ctx context.Context, s source.Source) (err error) {
	v, err := s.Freeze(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	for _, err := range v.Entries(ctx, "", "") {
		if err != nil {
			return err
		}
	}
	return nil
}
