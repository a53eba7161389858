package coverage_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/coverage"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

var pool servers.Pool

func TestMain(m *testing.M) { os.Exit(pool.Run(m)) }

// short gives each resource in a line, without what the server is called.
func short(all []coverage.Resource) (out []string) {
	for _, r := range all {
		url, _, _ := strings.Cut(r.URL, "?")
		out = append(out, fmt.Sprintf("%s %s %v", r.Kind, url, r.By))
	}
	return out
}

// Of the buckets of a server those are found that no source has, or not all of, and no others.
func TestBuckets(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			s := pool.Get(t, kind)
			for _, name := range []string{"has", "has-part", "nobody-has", "nobody-has.dots"} {
				if err := s.Admin().MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 3 {
				if _, err := s.Admin().PutObject(t.Context(), "nobody-has", fmt.Sprint(i), bytes.NewReader(make([]byte, 1000)), 1000, minio.PutObjectOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			b := coverage.OpenBuckets(coverage.Account{Endpoint: s.Endpoint, Region: servers.Region, PathStyle: true, Credentials: fixed.Credentials(s.Root)})
			defer b.Close()
			all, err := b.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			coverage.Match(all, []coverage.Holding{
				{Source: "a", Bucket: "has", Endpoint: s.Endpoint + "/"},
				{Source: "b", Bucket: "has-part", Prefix: "x/", Endpoint: s.Endpoint},
				{Source: "c", Bucket: "nobody-has"}, // AWS's bucket of that name is another
			})
			all = coverage.Sorted(append(all, all...))
			want := []string{"bucket s3://has-part []", "bucket s3://nobody-has.dots []", "bucket s3://nobody-has []", "bucket s3://has [a]"}
			if got := short(all); !slices.Equal(got, want) {
				t.Fatalf("%q instead of %q", got, want)
			}
			if !slices.Equal(all[0].Parts, []string{"x/"}) || time.Since(all[0].Made).Abs() > time.Hour {
				t.Errorf("%+v", all[0])
			}
			for i, want := range []int64{0, 0, 3000} {
				if err := b.Size(t.Context(), &all[i], 5); err != nil || all[i].Bytes != want || all[i].AtLeast {
					t.Errorf("%v: %+v", err, all[i])
				}
			}
			wrong := s.Root
			wrong.SecretAccessKey = "not that"
			if _, err := coverage.OpenBuckets(coverage.Account{Endpoint: s.Endpoint, Region: servers.Region, PathStyle: true, Credentials: fixed.Credentials(wrong)}).List(t.Context()); err == nil {
				t.Error("listed with a wrong key")
			}
		})
	}
}

func serve(t *testing.T, o ec2.Options) *awstest.Server {
	t.Helper()
	s, err := awstest.Start(world.New(), ebs.Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ec2.AddSample(s.EC2, nil, nil)
	return s
}

func account(s *awstest.Server) coverage.Account {
	return coverage.Account{Region: "eu-central-1", Endpoint: s.URL, Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "AKIDREADER", SecretAccessKey: "secret"})}
}

// Everything that is planted is found once, in its region, and nothing else: what is terminated, somebody else's, or a part of
// another thing, counts for nothing.
func TestMachines(t *testing.T) {
	s := serve(t, ec2.Options{Regions: []string{"eu-central-1", "us-east-1"}})
	w := s.World
	w.AddVolume(world.Volume{ID: "vol-0000000000000001", SizeGiB: 3, Tags: map[string]string{"Name": "db"}, Instance: "i-0000000000000009"})
	w.AddVolume(world.Volume{ID: "vol-0000000000000002", SizeGiB: 4, Region: "us-east-1"})
	w.AddSnapshot(world.Snapshot{ID: "snap-0000000000000001", VolumeID: "vol-0000000000000001", SizeGiB: 3})
	old := time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)
	w.AddSnapshot(world.Snapshot{ID: "snap-0000000000000002", VolumeID: "vol-000000000000gone", SizeGiB: 7, Started: old})
	w.AddSnapshot(world.Snapshot{ID: "snap-0000000000000003", VolumeID: "vol-000000000000gone", SizeGiB: 8, Started: old.AddDate(1, 0, 0)})
	w.AddSnapshot(world.Snapshot{ID: "snap-0000000000000004", SizeGiB: 1})
	w.AddSnapshot(world.Snapshot{ID: "snap-0000000000000005", SizeGiB: 1, Owner: "999999999999", Public: true})
	instance := func(id, state string) string {
		return "<reservationId>r-" + id + "</reservationId><instancesSet><item><instanceId>" + id + "</instanceId><instanceType>m7i.large</instanceType><instanceState><name>" + state + "</name></instanceState></item></instancesSet>"
	}
	s.EC2.PutIn("us-east-1", "instance", "i-0000000000000008", instance("i-0000000000000008", "running"))
	s.EC2.PutIn("us-east-1", "instance", "i-0000000000000007", instance("i-0000000000000007", "terminated"))

	all, unseen, err := coverage.Machines(t.Context(), account(s))
	if err != nil || len(unseen) > 0 {
		t.Fatal(err, unseen)
	}
	keys := map[string]bool{"image/" + ec2.SampleImage + ".json": true, "instance/" + ec2.SampleInstance + ".json": true}
	for _, snap := range w.Snapshots() {
		if strings.HasPrefix(snap.VolumeID, "vol-0000000000000r") || strings.HasPrefix(snap.VolumeID, "vol-0000000000000d") {
			keys["snapshot/"+snap.ID] = true
		}
	}
	coverage.Match(all, []coverage.Holding{
		{Source: "machines", Region: "eu-central-1", Keys: keys},
		{Source: "disks", Region: "eu-central-1", Keys: map[string]bool{"vol-0000000000000001": true, "vol-0000000000000002": true}},
		{Source: "made", Region: "eu-central-1", Instances: []string{"i-0000000000000009"}},
	})
	got := short(coverage.Sorted(all))
	want := []string{
		"snapshots ebs://eu-central-1/snap-0000000000000004 []", "volume ebs://eu-central-1/vol-0000000000000data []", "volume ebs://eu-central-1/vol-0000000000000root []", "snapshots ebs://eu-central-1/vol-000000000000gone []", "volume ebs://us-east-1/vol-0000000000000002 []",
		"ami ec2://eu-central-1/" + ec2.SampleWindows + " []", "instance ec2://eu-central-1/i-0windows []", "instance ec2://us-east-1/i-0000000000000008 []",
		"volume ebs://eu-central-1/vol-0000000000000001 [disks made]", "ami ec2://eu-central-1/" + ec2.SampleImage + " [machines]", "instance ec2://eu-central-1/" + ec2.SampleInstance + " [machines]",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, r := range all {
		switch {
		case strings.Contains(r.URL, "gone") && (r.Bytes != 8<<30 || r.Made.Year() != 2025), strings.Contains(r.URL, "0001") && (r.Name != "db" || r.Bytes != 3<<30),
			r.Kind == coverage.KindInstance && r.Bytes != coverage.Unknown:
			t.Errorf("%+v", r)
		}
	}

	// An AMI without one of its snapshots in the source is not protected.
	for k := range keys {
		if strings.HasPrefix(k, "snapshot/") {
			delete(keys, k)
			break
		}
	}
	all, _, err = coverage.Machines(t.Context(), account(s))
	coverage.Match(all, []coverage.Holding{{Source: "machines", Region: "eu-central-1", Keys: keys}})
	for _, r := range all {
		if strings.Contains(r.URL, ec2.SampleImage) && r.Protected() || err != nil {
			t.Errorf("%v: %+v", err, r)
		}
	}
}

// What is refused is said, and the rest is found; AMIs that cannot be seen do not turn their snapshots into things of their own.
func TestRefused(t *testing.T) {
	for action, want := range map[string]string{
		"DescribeRegions": "regions other than eu-central-1", "DescribeVolumes": "volumes of eu-central-1", "DescribeInstances": "instances of eu-central-1",
		"DescribeImages": "AMIs of eu-central-1", "DescribeSnapshots": "snapshots of eu-central-1",
	} {
		s := serve(t, ec2.Options{Denied: map[string]bool{action: true}})
		all, unseen, err := coverage.Machines(t.Context(), account(s))
		if err != nil || len(all) == 0 || !strings.Contains(strings.Join(unseen, "\n"), want) {
			t.Errorf("%s: %v %q", action, err, unseen)
		}
		for _, r := range all {
			if r.Kind == coverage.KindSnapshots {
				t.Errorf("%s: %+v", action, r)
			}
		}
	}
	s := serve(t, ec2.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := coverage.Machines(ctx, account(s)); err == nil {
		t.Error("a look that was cancelled has no error")
	}
	for _, r := range s.EC2.Log() {
		if !strings.HasPrefix(fmt.Sprint(r), "Describe") {
			t.Errorf("asked for %v", r)
		}
	}
}
