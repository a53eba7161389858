package vendor_test

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// TestTheWritersNames: the writer's policy lets every name be put that docs/format.md has, and the name of no folder of one.
func TestTheWritersNames(t *testing.T) {
	var h format.Hash
	var sig [64]byte
	at := format.At(time.Date(2026, 11, 23, 8, 5, 0, 0, time.UTC))
	names := []string{
		format.PackName(h), format.MetaName(h), format.NeedsName(h), format.HostKeyName(h),
		"descriptors/000000-" + h.String() + ".json",
		format.DescriptorID{Number: 1, Sum: h, Hint: "01234567", Signature: sig[:]}.Name(),
		format.PlacementsID{Vault: "offsite", Written: at, Sum: h, Hint: "01234567", Signature: sig[:]}.Name(),
		format.PointID{Source: "a", SignedAt: at, ID: h, Hint: "01234567", Signature: sig[:]}.Name(),
		format.RecordID{Reporter: "web-1", Series: at, Number: 7, Sum: h, Hint: "01234567", Signature: sig[:]}.Name(),
		"reports/20261123T080500Z-0123456789abcdef.json", "reports/20261123T080500Z-0123456789abcdef.html", "canary/0123456789abcdef/kept-1",
	}
	for _, name := range names[:3] {
		flat, ok := format.WithoutFolder(name)
		if !ok {
			t.Fatal(name)
		}
		names = append(names, flat)
	}
	for _, v := range []string{"minio", "versitygw"} {
		for _, prefix := range []string{"", "prod/eu"} {
			base := path.Join("acme-vault", prefix) + "/"
			allowed := putBy(t, v, prefix)
			for _, name := range names {
				if !allowed(base + name) {
					t.Errorf("%s: %s may not be put", v, name)
				}
				for dir := base + path.Dir(name); dir != "."; dir = path.Dir(dir) {
					if allowed(dir) {
						t.Errorf("%s: %s may be put, a folder's name", v, dir)
					}
				}
			}
			for _, name := range []string{"points/site-a-b-c-d", "packs/ab", "points/" + strings.Repeat("a", 40), "x", "packs/x", "holds/x", "reports/web-1"} {
				if allowed(base + name) {
					t.Errorf("%s: %s may be put", v, name)
				}
			}
		}
	}
}

// putBy reads, of a writer's policy, what may be put where.
func putBy(t *testing.T, name, prefix string) func(string) bool {
	t.Helper()
	p, err := vendor.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := vendor.PolicyFor(p, vendor.VaultWriter, vendor.PolicyOptions{Bucket: "acme-vault", Prefix: prefix, Principal: "writer"})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Statement []struct {
			Effect           string
			Action, Resource []string
		}
	}
	if err := json.Unmarshal([]byte(d.Text), &doc); err != nil {
		t.Fatal(err)
	}
	var patterns []*regexp.Regexp
	for _, s := range doc.Statement {
		if s.Effect != "Allow" || !slices.Contains(s.Action, "s3:PutObject") {
			continue
		}
		for _, r := range s.Resource {
			r = strings.ReplaceAll(regexp.QuoteMeta(strings.TrimPrefix(r, "arn:aws:s3:::")), `\*`, `.*`)
			patterns = append(patterns, regexp.MustCompile("^"+r+"$"))
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(patterns, func(r *regexp.Regexp) bool { return r.MatchString(name) })
	}
}
