package ebsdirect

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// TestEndless: no listing of blocks is read without a limit.
func TestEndless(t *testing.T) {
	sourcetest.EndlessAnswers(t, func(ctx context.Context, t *testing.T, endpoint string) error {
		return listBlocks(ctx, t, endpoint, anyKey())
	})
}

// TestRenewed: credentials that were renewed meanwhile are taken up.
func TestRenewed(t *testing.T) { sourcetest.Renewed(t, listBlocks) }

func anyKey() store.CredentialsFunc {
	return fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"})
}

// TestRedirected: what sends it elsewhere is not followed.
func TestRedirected(t *testing.T) {
	sourcetest.Redirected(t, func(ctx context.Context, t *testing.T, endpoint string) error {
		return explain("list blocks", listBlocks(ctx, t, endpoint, anyKey()))
	})
}

func listBlocks(ctx context.Context, t *testing.T, endpoint string, get store.CredentialsFunc) error {
	t.Helper()
	c, err := New(Options{Region: "eu-west-1", Endpoint: endpoint, MaxBackoff: time.Millisecond, Credentials: get})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.blocksPage(ctx, "snap-1", "", 0, 100)
	return err
}
