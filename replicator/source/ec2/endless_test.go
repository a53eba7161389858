package ec2source_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	ec2source "github.com/holdfast-backup/holdfast/replicator/source/ec2"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
)

// TestEndless: no answer of EC2 is read without a limit.
func TestEndless(t *testing.T) { sourcetest.EndlessAnswers(t, sourcetest.At(at).List) }

// TestRedirected: what sends it elsewhere is not followed.
func TestRedirected(t *testing.T) { sourcetest.Redirected(t, sourcetest.At(at).List) }

// TestRenewed: credentials that were renewed meanwhile are taken up.
func TestRenewed(t *testing.T) { sourcetest.Renewed(t, sourcetest.At(at).ListAs) }

// at gives the source at an endpoint.
func at(t *testing.T, endpoint string, get store.CredentialsFunc) source.Source {
	t.Helper()
	s, err := ec2source.New(ec2source.Options{
		Region: "eu-west-1", Endpoint: endpoint, Rate: 1e6, MaxBackoff: time.Millisecond,
		Credentials: get,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
