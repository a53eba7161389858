package tobucket

import "testing"

// TestVersionsPassedOver: an answer with what is current is not a listing of no versions.
func TestVersionsPassedOver(t *testing.T) {
	const entry = "<Key>k</Key><LastModified>2026-11-23T08:05:00Z</LastModified><Size>1</Size>"
	for doc, want := range map[string]int{
		"<ListBucketResult><Contents>" + entry + "</Contents></ListBucketResult>": -1,
		"<ListBucketResult/>":   -1,
		"<ListVersionsResult/>": 0,
		"<ListVersionsResult><Version>" + entry + "</Version></ListVersionsResult>":                       1,
		"<ListBucketVersionsResult><DeleteMarker>" + entry + "</DeleteMarker></ListBucketVersionsResult>": 1, // gofakes3, rclone
	} {
		p, err := parseVersions([]byte(doc))
		if (err != nil) != (want < 0) || err == nil && len(p.items) != want {
			t.Errorf("%s: %+v, %v", doc, p, err)
		}
	}
}
