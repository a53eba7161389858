package meter_test

import (
	"net/http"
	"testing"

	"github.com/holdfast-backup/holdfast/store/meter"
)

type answers struct{}

func (answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// TestRequestsAreCountedAsTheyAreBilled sends what drivers send.
func TestRequestsAreCountedAsTheyAreBilled(t *testing.T) {
	for _, c := range []struct {
		method, url string
		want        meter.Asked
	}{
		{"PUT", "https://h/b/packs/aa/x", meter.Asked{Put: 1}},
		{"PUT", "https://h/b/packs/aa/x?retention=&versionId=1", meter.Asked{Lock: 1}},
		{"GET", "https://h/b/?versions=&prefix=packs%2F", meter.Asked{List: 1}},
		{"GET", "https://h/b/?list-type=2", meter.Asked{List: 1}},
		{"GET", "https://h/b/k?versionId=1", meter.Asked{Get: 1}},
		{"HEAD", "https://h/b/k", meter.Asked{Get: 1}},
		{"GET", "https://h/b/k?tagging=", meter.Asked{Get: 1}},
		{"GET", "https://h/b/?versioning=", meter.Asked{Get: 1}},
		{"GET", "https://ebs/snapshots/snap-1/blocks?pageToken=x", meter.Asked{List: 1}},
		{"GET", "https://ebs/snapshots/snap-1/changedblocks", meter.Asked{List: 1}},
		{"GET", "https://ebs/snapshots/snap-1/blocks/7?blockToken=x", meter.Asked{Get: 1}},
		{"POST", "https://ec2/", meter.Asked{}},
		{"DELETE", "https://h/b/k?versionId=1", meter.Asked{}},
	} {
		var n meter.Requests
		req, err := http.NewRequest(c.method, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := n.Over(answers{}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := n.Snapshot(); got != c.want {
			t.Errorf("%s %s counts as %+v, want %+v", c.method, c.url, got, c.want)
		}
	}
	var none *meter.Requests
	if none.Over(answers{}) != (answers{}) || none.Snapshot() != (meter.Asked{}) {
		t.Error("a nil counter counts")
	}
	a, b := meter.Asked{Put: 1, Lock: 2, List: 3, Get: 4}, meter.Asked{Put: 10, Lock: 20, List: 30, Get: 40}
	if a.Plus(b).Minus(b) != a || a.All() != 10 {
		t.Errorf("%+v", a.Plus(b))
	}
}
