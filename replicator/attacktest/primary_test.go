package attacktest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/source"
	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// ruin is an attack at the primary, whose administrator may do anything there, and the run that comes after it.
type ruin struct {
	name string
	what string
	seen string // what the next run comes to
	do   func(t *testing.T, a *arena)
	ran  func(t *testing.T, a *arena, name string, src source.Source) // default: a run of the bucket that must be complete, with what is there then
}

// primaryAttacks is what whoever owns the primary does to it. None of them may touch a point that is there, and none may make
// a point that says it holds what it does not.
func primaryAttacks() []ruin {
	return []ruin{
		{name: "ransom", what: "overwrite every object with encrypted rubbish", seen: "a complete point, every entry counted as changed", do: ransom},
		{name: "ransom-of-the-same-size", what: "the same with as many bytes as before", seen: "a complete point of what is there", do: ransomSameSize},
		{name: "ransom-of-files", what: "overwrite files and set their size and times back", seen: "a complete point: the change time tells", do: ransomFiles, ran: runSite},
		{name: "suspend-at-the-primary", what: "suspend versioning, then overwrite in place", seen: "a complete point of what is there", do: suspendPrimary},
		{name: "delete-some", what: "delete half of the objects, every version", seen: "a complete point, the deletions counted, nothing of it replicated", do: deleteHalf},
		{name: "bury", what: "lay delete markers on what is left", seen: "a complete and empty point", do: bury},
		{name: "hostile-keys", what: "store keys with line feeds, quotes, dots, slashes, bytes that are no text, and names of the vault's own objects", seen: "a complete point of exactly those", do: hostileKeys},
		{name: "hostile-metadata", what: "store metadata and tags as large and as odd as the server takes", seen: "a complete point", do: hostileMetadata},
		{name: "content-like-ours", what: "store content that looks like age files, zstd frames and manifest lines", seen: "a complete point", do: contentLikeOurs},
		{name: "bombs", what: "store content that shrinks a thousandfold", seen: "a complete point, in bounded memory", do: bombs},
		{name: "gigantic-listing", what: "store thousands of small objects", seen: "a complete point", do: gigantic},
		{name: "change-under-the-run", what: "overwrite and delete objects while the run reads them", seen: "a point of whole objects only; what kept changing is named as missing", do: func(*testing.T, *arena) {}, ran: runUnderChange},
		{name: "withdraw-the-reader", what: "take the reader's rights away", seen: "the run fails and makes no point", do: func(*testing.T, *arena) {}, ran: runWithoutRights},
		{name: "another-bucket", what: "put another bucket in the place of the source", seen: "a complete point of the other bucket, everything deleted and added", do: func(*testing.T, *arena) {}, ran: runAnother},
		{name: "delete-everything", what: "delete every version of everything and the bucket", seen: "the run fails and makes no point", do: deleteAll, ran: runFails},
	}
}

// ruinAll works the primary over, with a run after each attack.
func ruinAll(t *testing.T, a *arena) {
	kept := a.points
	for _, x := range primaryAttacks() {
		t.Run(x.name, func(t *testing.T) {
			x.do(t, a)
			if x.ran != nil {
				x.ran(t, a, "uploads", a.source)
				return
			}
			keepPoint(t, a, "uploads")
		})
	}
	a.points = append(kept, a.points[len(kept):]...)
	t.Run("all points come back", func(t *testing.T) { comesBack(t, a) })
	a.points = kept
	rebuildPrimary(t, a)
}

// rebuildPrimary gives the owner a primary again, for the runs that follow.
func rebuildPrimary(t *testing.T, a *arena) {
	t.Helper()
	a.primary = a.srv.NewBucket(t, servers.BucketOptions{Versioning: true})
	a.source = sourceOf(t, a, a.primary, servers.SourceReaderPolicy(a.primary))
	a.fill(t, 2)
	keepPoint(t, a, "uploads")
	keepPoint(t, a, "site")
}

func sourceOf(t *testing.T, a *arena, bucket string, p servers.Policy) source.Source {
	t.Helper()
	src, err := s3source.New(s3source.Options{
		Bucket: bucket, Endpoint: a.srv.Direct, Region: servers.Region, PathStyle: true, MaxBackoff: 50 * time.Millisecond,
		Credentials: fixed.Credentials(a.srv.NewUser(t, p)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func primaryKeys(t *testing.T, a *arena) (out []string) {
	t.Helper()
	for k := range sumsOfBucket(t, a, a.primary) {
		out = append(out, k)
	}
	if len(out) == 0 {
		t.Fatal("the primary is empty")
	}
	return out
}

func ransom(t *testing.T, a *arena) {
	for i, k := range primaryKeys(t, a) {
		a.put(t.Context(), t, k, append([]byte("Salted__"), noise(uint64(500+i), 1500)...))
	}
}

func ransomSameSize(t *testing.T, a *arena) {
	for i, k := range primaryKeys(t, a) {
		b, err := get(t.Context(), a.root, a.primary, k, "")
		if err != nil {
			t.Fatal(err)
		}
		a.put(t.Context(), t, k, noise(uint64(900+i), len(b)))
	}
}

func ransomFiles(t *testing.T, a *arena) {
	for i := range 12 {
		path := filepath.Join(a.site, fmt.Sprintf("page%02d.html", i))
		was, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, noise(uint64(700+i), int(was.Size())))
		if err := os.Chtimes(path, was.ModTime(), was.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

func runSite(t *testing.T, a *arena, _ string, _ source.Source) { keepPoint(t, a, "site") }

func suspendPrimary(t *testing.T, a *arena) {
	if _, err := a.root.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &a.primary, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended},
	}); err != nil {
		t.Fatal(err)
	}
	for _, k := range primaryKeys(t, a) {
		a.put(t.Context(), t, k, []byte("overwritten in place: "+k))
	}
}

func deleteVersions(t *testing.T, a *arena, which func(key string) bool) {
	t.Helper()
	list, err := versions(t.Context(), a.root, a.primary, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		if which(v.key) {
			if _, err := a.root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &a.primary, Key: &v.key, VersionId: &v.id}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func deleteHalf(t *testing.T, a *arena) {
	deleteVersions(t, a, func(key string) bool { return len(key)%2 == 1 || strings.HasSuffix(key, "2.txt") })
}

func bury(t *testing.T, a *arena) {
	for _, k := range primaryKeys(t, a) {
		if _, err := a.root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &a.primary, Key: &k}); err != nil {
			t.Fatal(err)
		}
	}
	if left := sumsOfBucket(t, a, a.primary); len(left) > 0 {
		t.Fatalf("%d objects are left", len(left))
	}
}

func hostileKeys(t *testing.T, a *arena) {
	taken := 0
	for _, k := range []string{
		"points/uploads/20261123T080500Z-" + strings.Repeat("0", 64) + "-" + strings.Repeat("0", 128), "packs/00/" + strings.Repeat("0", 64) + ".age",
		"a\nb", "quo\"te\\", "../../etc/passwd", "./x", "a//b", "x/../y", "日本語/ключ", "tab\there", "\x01\x02", "<xml>&amp;", "%2e%2e%2f", " leading and trailing ",
		strings.Repeat("k", 900), "plain",
	} {
		if put(t.Context(), a.root, a.primary, k, []byte("content of "+k)) != nil {
			continue
		}
		// A server that keeps it under another key cannot give it back to anybody.
		if b, err := get(t.Context(), a.root, a.primary, k, ""); err == nil && string(b) == "content of "+k && a.lists(t, k) {
			taken++
			continue
		}
		_, _ = a.root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &a.primary, Key: &k})
	}
	if taken < 8 {
		t.Fatalf("the server took %d hostile keys", taken)
	}
}

// lists reports whether the primary's listing has a key.
func (a *arena) lists(t *testing.T, key string) bool {
	t.Helper()
	list, err := versions(t.Context(), a.root, a.primary, key)
	if err != nil {
		t.Fatal(err)
	}
	return len(list) > 0 && list[0].key == key
}

func hostileMetadata(t *testing.T, a *arena) {
	for i, m := range []map[string]string{
		{"big": strings.Repeat("v", 1900)}, {"x-amz-meta-nested": "{\"key\":\"value\"}", "quote": "a\"b\\c"}, {"holdfast": "{\"format\":\"1-rc\"}"},
	} {
		key := fmt.Sprintf("meta/%d", i)
		err := put(t.Context(), a.root, a.primary, key, []byte(key), func(in *s3.PutObjectInput) {
			in.Metadata, in.Tagging = m, aws.String("expire=now&a%20b=c%2Bd")
			in.ContentType, in.CacheControl = aws.String("text/html; charset=\"\\\""), aws.String(strings.Repeat("no-store,", 50))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func contentLikeOurs(t *testing.T, a *arena) {
	v := a.ours("packs/")[0]
	ours, err := get(t.Context(), a.root, a.bucket, v.key, v.id)
	if err != nil {
		t.Fatal(err)
	}
	a.put(t.Context(), t, "like/pack.age", ours)
	a.put(t.Context(), t, "like/frame.zst", []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0xff, 0x03, 0x00, 0x10, 0x00})
	a.put(t.Context(), t, "like/entry", []byte("{\"key\":\"x\",\"size\":1}\n{\"signature\":\"\"}\n"))
}

func bombs(t *testing.T, a *arena) {
	a.put(t.Context(), t, "bombs/zeros", make([]byte, 48<<20))
	a.put(t.Context(), t, "bombs/text", []byte(strings.Repeat("all work and no play makes a dull boy\n", 200_000)))
}

func gigantic(t *testing.T, a *arena) {
	work := make(chan int)
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			var first error
			for i := range work {
				if err := put(t.Context(), a.root, a.primary, fmt.Sprintf("many/%02d/%05d", i%50, i), []byte{byte(i)}); err != nil && first == nil {
					first = err
				}
			}
			done <- first
		}()
	}
	for i := range many(5000) {
		work <- i
	}
	close(work)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// runUnderChange overwrites and deletes while a run is under way. Every entry of the point must be one whole state of its
// object: its first byte, which says which state it is, fits all others.
func runUnderChange(t *testing.T, a *arena, name string, src source.Source) {
	ctx, stop := context.WithCancel(t.Context())
	states := func(round int) []byte { return []byte(strings.Repeat(string(rune('a'+round%26)), 200_000)) }
	for i := range 20 {
		a.put(ctx, t, fmt.Sprintf("live/%02d", i), states(0))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := 1; ctx.Err() == nil; round++ {
			for i := range 20 {
				key := fmt.Sprintf("live/%02d", i)
				if i%7 == 6 {
					_, _ = a.root.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.primary, Key: &key})
				} else {
					_ = put(ctx, a.root, a.primary, key, states(round))
				}
			}
		}
	}()
	res, err := a.run(t.Context(), name, src, false)
	stop()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != format.StatusComplete && res.Missing == 0 {
		t.Fatalf("%+v", res)
	}
	for key, b := range a.contents(t, res.Point, "live/") {
		if len(b) != 200_000 || strings.Trim(string(b), string(b[:1])) != "" {
			t.Errorf("%s is mixed from several states", key)
		}
	}
	deleteVersions(t, a, func(key string) bool { return strings.HasPrefix(key, "live/") })
}

// contents restores part of a point.
func (a *arena) contents(t *testing.T, id format.Hash, under string) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	restorePart(t, a, id, dir, under+"**")
	out := map[string][]byte{}
	for name := range sumsOfDir(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

// runFails demands that no point comes of a source that cannot be read.
func runFails(t *testing.T, a *arena, name string, src source.Source) {
	res, err := a.run(t.Context(), name, src, false)
	if err == nil {
		t.Fatalf("there is a point %s, %s, of %d entries", res.Point, res.Status, res.Entries)
	}
	t.Log(err)
}

func runWithoutRights(t *testing.T, a *arena, name string, _ source.Source) {
	runFails(t, a, name, sourceOf(t, a, a.primary, servers.ReaderPolicy(a.bucket)))
}

func runAnother(t *testing.T, a *arena, name string, _ source.Source) {
	other := a.srv.NewBucket(t, servers.BucketOptions{})
	if err := put(t.Context(), a.root, other, "docs/01.txt", []byte("of another bucket")); err != nil {
		t.Fatal(err)
	}
	res := must(a.run(t.Context(), name, sourceOf(t, a, other, servers.SourceReaderPolicy(other)), false))
	if res.Entries != 1 || res.Deleted == 0 || res.Added+res.Changed != 1 {
		t.Errorf("%+v", res)
	}
}

func deleteAll(t *testing.T, a *arena) {
	list, err := versions(t.Context(), a.root, a.primary, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list { // versitygw cannot delete some odd keys by their version
		_, _ = a.root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &a.primary, Key: &v.key, VersionId: &v.id})
	}
	_, err = a.root.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: &a.primary})
	if code(err) == "BucketNotEmpty" { // versitygw keeps folders of deleted versions: what cannot be deleted is taken away
		_, err = a.root.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &a.primary, Policy: aws.String(fmt.Sprintf(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::%[1]s","arn:aws:s3:::%[1]s/*"]}]}`, a.primary))})
	}
	if err != nil {
		t.Fatal(err)
	}
}
