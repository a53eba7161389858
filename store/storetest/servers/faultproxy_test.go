package servers_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/faults"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// TestFaulting makes one request of each kind fail in each of its ways, and come through the second time.
func TestFaulting(t *testing.T) {
	srv := shared.Get(t, servers.KindVersityGW)
	bucket := srv.NewBucket(t, servers.BucketOptions{Lock: true})
	direct := client(t, srv.Direct, srv.Root)
	for _, key := range []string{"a", "b"} {
		if err := put(t.Context(), direct, bucket, key, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond) // so that one is older
	}
	for _, op := range []string{"put", "get", "head", "versions", "list", "put[retention]"} {
		for _, way := range servers.FaultWays(op) {
			t.Run(op+" "+string(way), func(t *testing.T) {
				plan := faults.New(faults.Rule{Op: op, Name: "/" + bucket + "*", Times: 1, Way: way})
				plan.Patience = 20 * time.Millisecond
				c := client(t, servers.Faulting(t, srv, plan).Endpoint, srv.Root)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				new := "new/" + strings.ReplaceAll(op+string(way), " ", "")
				got, err := ask(ctx, c, op, bucket, new)
				plan.Check(t)
				judge(t, op, way, got, err)
				if way == faults.Stale {
					if all, err := ask(ctx, direct, op, bucket, new); err != nil || got == "" || len(got) >= len(all) {
						t.Errorf("%q of %q, %v", got, all, err)
					}
				}
				if op == "put" {
					_, err := direct.StatObject(ctx, bucket, new, minio.StatObjectOptions{})
					if done := err == nil; done != (way == faults.Lost) {
						t.Errorf("done: %v (%v)", done, err)
					}
				}
				if again, err := ask(ctx, c, op, bucket, new); err != nil || op == "get" && again != "some bytes" {
					t.Errorf("the second time: %q, %v", again, err)
				}
			})
		}
	}
}

// judge holds the outcome of a failing request to its way.
func judge(t *testing.T, op string, way faults.Way, got string, err error) {
	t.Helper()
	code := minio.ToErrorResponse(err).Code
	want := map[faults.Way]string{faults.Transient: "InternalError", faults.Throttled: "SlowDown", faults.Denied: "AccessDenied"}[way]
	switch {
	case op == "head" && want != "":
		if status := minio.ToErrorResponse(err).StatusCode; status != map[string]int{"InternalError": 500, "SlowDown": 503, "AccessDenied": 403}[want] {
			t.Errorf("status %d: %v", status, err)
		}
	case want != "" && code != want:
		t.Errorf("%v, code %q", err, code)
	case want != "":
	case way == faults.Slow:
		if err != nil || op == "get" && got != "some bytes" || op == "list" && !strings.HasPrefix(got, "ab") {
			t.Errorf("%q, %v", got, err)
		}
	case way == faults.Stale:
		if err != nil {
			t.Error(err)
		}
	case way == faults.Flipped && op == "get":
		if err != nil || got == "some bytes" || len(got) != 10 {
			t.Errorf("%q, %v", got, err)
		}
	case err == nil:
		t.Errorf("no error, %q", got)
	}
}

// ask makes the one request of an operation.
func ask(ctx context.Context, c *minio.Client, op, bucket, new string) (got string, err error) {
	core := minio.Core{Client: c}
	switch op {
	case "put":
		return "", put(ctx, c, bucket, new, minio.PutObjectOptions{DisableContentSha256: false, SendContentMd5: true})
	case "get":
		body, _, _, err := core.GetObject(ctx, bucket, "a", minio.GetObjectOptions{})
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(body)
		return string(b), errors.Join(err, body.Close())
	case "head":
		_, err = c.StatObject(ctx, bucket, "a", minio.StatObjectOptions{})
	case "versions", "list":
		for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: op == "versions"}) {
			if o.Err != nil {
				return got, o.Err
			}
			got += o.Key
		}
	case "put[retention]":
		mode, until := minio.Compliance, time.Now().Add(time.Hour)
		err = c.PutObjectRetention(ctx, bucket, "b", minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until})
	}
	return got, err
}

// TestFaultingLeavesOthersAlone: what no rule is for comes and goes as it is, and is recorded.
func TestFaultingLeavesOthersAlone(t *testing.T) {
	srv := shared.Get(t, servers.KindVersityGW)
	bucket := srv.NewBucket(t, servers.BucketOptions{})
	plan := faults.New(faults.Rule{Name: "/elsewhere*", Way: faults.Denied})
	proxy := servers.Faulting(t, srv, plan)
	c := client(t, proxy.Endpoint, srv.Root)
	if err := put(t.Context(), c, bucket, "a b+c%20/ü", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	calls := plan.Calls()
	if !slices.Contains(calls, faults.Call{Op: "put", Name: "/" + bucket + "/a b+c%20/ü", Nth: 1}) {
		t.Errorf("%v", calls)
	}
	if len(plan.Left()) != 1 {
		t.Error("a rule that never struck counts as exhausted")
	}
	log := proxy.Log()
	if len(log) == 0 || log[len(log)-1].Method != http.MethodPut || log[len(log)-1].Status != http.StatusOK {
		t.Errorf("%+v", log)
	}
}
