package ebssource

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

type taker struct{ bodies []string }

func (k *taker) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	k.bodies = append(k.bodies, string(b))
	return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{"Date": {"Mon, 23 Nov 2026 12:00:00 GMT"}}}, err
}

// Whatever a bug or an SDK may try: only questions leave, and the making of snapshots if it was asked for.
func TestAsksOnly(t *testing.T) {
	for _, c := range []struct {
		body   string
		create bool
		passes bool
	}{
		{"Action=DescribeSnapshots&Version=2016-11-15", false, true},
		{"Action=DeleteSnapshot&SnapshotId=snap-1", false, false},
		{"Action=DeleteSnapshot&SnapshotId=snap-1", true, false},
		{"Action=CreateSnapshots", false, false},
		{"Action=CreateSnapshots", true, true},
		{"Action=ModifySnapshotTier", true, false},
		{"Version=2016-11-15", true, false},
		{"Action=DeleteSnapshot&Action=DescribeSnapshots", false, false},
		{"%zz", true, false},
	} {
		k := &taker{}
		d := describeOnly{next: k, create: c.create, saw: func(time.Time) {}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", io.NopCloser(strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.RoundTrip(req)
		if (err == nil) != c.passes || len(k.bodies) > 0 != c.passes || c.passes && k.bodies[0] != c.body {
			t.Errorf("%q (create %t): %v, sent %q", c.body, c.create, err, k.bodies)
		}
	}
	d := describeOnly{next: &taker{}, saw: func(time.Time) {}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/?Action=DeleteSnapshot", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.RoundTrip(req); err == nil {
		t.Error("an action in the URL was sent")
	}
}

func TestReasons(t *testing.T) {
	for want, snap := range map[string]types.Snapshot{
		"":           {State: types.SnapshotStateCompleted, VolumeSize: aws.Int32(1)},
		"pending":    {State: types.SnapshotStatePending, VolumeSize: aws.Int32(1)},
		"(error)":    {State: types.SnapshotStateError, VolumeSize: aws.Int32(1)},
		"recovering": {State: types.SnapshotStateRecovering, VolumeSize: aws.Int32(1)},
		"archived":   {State: types.SnapshotStateCompleted, StorageTier: types.StorageTierArchive, VolumeSize: aws.Int32(1)},
		"Outpost":    {State: types.SnapshotStateCompleted, OutpostArn: aws.String("arn:x"), VolumeSize: aws.Int32(1)},
		"no size":    {State: types.SnapshotStateCompleted},
	} {
		if got := unreadable(snap); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	if got := literal(`a*b?c\d`); got != `a\*b\?c\\d` {
		t.Errorf("literal gives %s", got)
	}
}
