package tobucket_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// TestEndless: no answer of a target is read without a limit.
func TestEndless(t *testing.T) { sourcetest.EndlessAnswers(t, lookAtAnyKey) }

// TestRedirected: what sends a restore elsewhere is not followed.
func TestRedirected(t *testing.T) { sourcetest.Redirected(t, lookAtAnyKey) }

// TestRenewed: credentials that were renewed meanwhile are taken up.
func TestRenewed(t *testing.T) { sourcetest.Renewed(t, lookAt) }

func lookAtAnyKey(ctx context.Context, t *testing.T, endpoint string) error {
	t.Helper()
	return lookAt(ctx, t, endpoint, fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}))
}

func lookAt(ctx context.Context, t *testing.T, endpoint string, get store.CredentialsFunc) error {
	t.Helper()
	b, err := tobucket.New(tobucket.Options{Bucket: "b", Endpoint: endpoint, PathStyle: true, MaxBackoff: time.Millisecond,
		Credentials: get})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close() //nolint:errcheck // nothing was written
	if err := b.Begin(ctx, restore.Job{Memory: 1 << 20, Overwrite: restore.Changed}); err != nil {
		return err
	}
	_, _, err = b.Accept(ctx, []*format.Entry{{Key: "k", Size: 1}})
	return err
}
