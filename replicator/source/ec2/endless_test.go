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
func TestEndless(t *testing.T) {
	sourcetest.Endless(t, func(t *testing.T, endpoint string) source.Source {
		s, err := ec2source.New(ec2source.Options{
			Region: "eu-west-1", Endpoint: endpoint, Rate: 1e6, MaxBackoff: time.Millisecond,
			Credentials: store.StaticCredentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
