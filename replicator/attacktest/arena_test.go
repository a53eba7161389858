package attacktest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

var pool servers.Pool

func TestMain(m *testing.M) { os.Exit(pool.Run(m)) }

// full runs the attacks that go by numbers with the numbers that they are told with; without it there are fewer of each.
var full = flag.Bool("full", false, "thousands of versions, descriptors and objects instead of dozens")

// many is n, or some of them.
func many(n int) int {
	if *full {
		return n
	}
	return n / 16
}

const (
	folder = "vault/" // of the repository in its bucket
	keep   = 35 * 24 * time.Hour
)

// arena is a vault on a real server with points of a bucket and of a directory, and everybody's keys.
type arena struct {
	t      *testing.T
	srv    *servers.Server
	bucket string // the vault's
	reader store.Credentials
	writer *s3.Client // the thief of the vault writer's key
	broad  *s3.Client // the same at a vendor, or under a policy, where who may write may hide as well
	root   *s3.Client // the vault's and the primary's administrator

	restore keys.Identity
	host    *keys.HostKey
	vault   *repo.Vault
	in      store.Reader // a reader's, for restores and verifications
	cache   string

	primary string // the source's bucket
	source  source.Source
	site    string // a directory that is a source, too

	known     *repo.Repository
	manifests *repo.Reader
	commits   map[format.Hash]*format.Commit
	chunks    map[format.Hash]int64 // every chunk of the points, by its SHA-256, with its size

	points   []kept
	early    int               // how many of them there were before the first attack
	before   map[string]locked // every version that was there before the first attack, by "name version"
	tampered map[string]bool   // names of ours that something was put on; verify has to name them
	saw      []repo.Finding    // by runs
	serial   int
	days     string // how long points are kept, if not 35d
	months   string // how long the first point of a month is kept, if it is kept longer
	others   []*repo.Vault
}

// kept is a point with what it has to give back.
type kept struct {
	id     format.Hash
	source string
	want   map[string][sha256.Size]byte
	odd    bool // it has keys that a directory cannot hold
}

// plain is a key that is a path.
func plain(key string) bool {
	return regexp.MustCompile(`^[\w.-]+(/[\w.-]+)*$`).MatchString(key) && !strings.Contains("/"+key+"/", "/./") && !strings.Contains("/"+key+"/", "/../")
}

// locked is a version as it was.
type locked struct {
	sum   [sha256.Size]byte
	size  int64
	until time.Time
}

func newArena(t *testing.T, kind servers.Kind) *arena {
	t.Helper()
	a := bareArena(t, kind)
	a.primary = a.srv.NewBucket(t, servers.BucketOptions{Versioning: true})
	key := a.srv.NewUser(t, servers.WriterPolicy(a.bucket))
	wide := servers.WriterPolicy(a.bucket)
	wide[1].Action = append(slices.Clone(wide[1].Action), "s3:DeleteObject")
	a.writer, a.broad = client(a.srv, key), client(a.srv, a.srv.NewUser(t, wide))
	a.reader = a.srv.NewUser(t, servers.ReaderPolicy(a.bucket))
	a.begin(t, key)
	a.source = sourceOf(t, a, a.primary, servers.SourceReaderPolicy(a.primary))
	return a
}

// bareArena has a bucket for the vault and nobody but its administrator.
func bareArena(t *testing.T, kind servers.Kind) *arena {
	t.Helper()
	srv := pool.Get(t, kind)
	a := &arena{t: t, srv: srv, site: t.TempDir(), cache: t.TempDir(), tampered: map[string]bool{}}
	a.bucket = srv.NewBucket(t, servers.BucketOptions{Lock: true})
	a.root = client(srv, srv.Root)
	a.writer, a.broad, a.reader = a.root, a.root, srv.Root
	return a
}

// begin makes the repository, whose job writes with the given key.
func (a *arena) begin(t *testing.T, key store.Credentials) {
	t.Helper()
	a.vault = &repo.Vault{Name: "offsite", Locking: repo.Locking{Mode: store.Compliance, Slack: 10 * 24 * time.Hour, Ceiling: 400 * 24 * time.Hour}}
	again := retry.New(retry.Options{Attempts: 4, Initial: 10 * time.Millisecond})
	w := a.open(key)
	a.vault.Read, a.vault.Write, a.vault.Lock, a.vault.Inspect = again.Reader(w), again.Writer(w), again.Locker(w), again.Inspector(w)
	a.in = again.Reader(a.open(a.reader))
	a.restore, a.host = must(keys.GenerateIdentity(keys.X25519)), must(keys.GenerateHostKey(keys.X25519))
	if _, err := repo.Init(t.Context(), repo.InitOptions{
		Vaults: []*repo.Vault{a.vault}, HostKey: a.host, Recipients: []keys.Recipient{a.restore.Recipient()}, Need: keep,
	}); err != nil {
		t.Fatal(err)
	}
}

func (a *arena) open(c store.Credentials) *s3store.Store {
	l := a.srv.Location(a.bucket)
	l.Prefix, l.Endpoint = strings.TrimSuffix(folder, "/"), a.srv.Direct
	s, err := s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(c)})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = s.Close() })
	return s
}

// client is what a thief uses: the vendor's own SDK, which sends what it is told.
func client(srv *servers.Server, c store.Credentials) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(srv.Direct), Region: servers.Region, UsePathStyle: true, RetryMaxAttempts: 2,
		Credentials:                credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// run makes a point of a source as the job does. fresh forgets the machine's cache first.
func (a *arena) run(ctx context.Context, name string, src source.Source, fresh bool) (res *backup.Result, err error) {
	if fresh {
		a.cache = a.t.TempDir()
	}
	s, err := repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: append([]*repo.Vault{a.vault}, a.others...), HostKey: a.host,
		Cache:  func(format.Hash) (*cache.Cache, error) { return cache.Open(a.cache, cache.Options{Memory: 16 << 20}) },
		Report: a.report,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	day, err := retain.Parse(cmp.Or(a.days, "35d"))
	if err != nil {
		return nil, err
	}
	month, err := retain.Parse(cmp.Or(a.months, "0"))
	if err != nil {
		return nil, err
	}
	return backup.Run(ctx, backup.Options{
		Source: src, Name: name, Session: s, Retention: retain.Policy{Daily: day, Monthly: month}, TagsMaxAge: -1, Memory: 64 << 20, Fetchers: 8,
	})
}

func (a *arena) report(f repo.Finding) { // sessions report one vault's findings one after the other or at once: see mustRun
	findings.Lock()
	defer findings.Unlock()
	a.saw = append(a.saw, f)
}

// keepPoint makes a point and remembers what it must give back.
func keepPoint(t *testing.T, a *arena, name string) {
	t.Helper()
	src, want := a.source, map[string][sha256.Size]byte(nil)
	if name == "site" {
		want = sumsOfDir(t, a.site)
		var err error
		if src, err = dirsource.New(dirsource.Options{Root: a.site}); err != nil {
			t.Fatal(err)
		}
	} else {
		want = sumsOfBucket(t, a, a.primary)
	}
	res, err := a.run(t.Context(), name, src, false)
	if err != nil {
		t.Fatalf("run of %s: %v", name, err)
	}
	if res.Status != format.StatusComplete {
		t.Fatalf("run of %s: %s, %d missing", name, res.Status, res.Missing)
	}
	for _, v := range res.Vaults {
		if v.Err != nil {
			t.Fatalf("run of %s: %v", name, v.Err)
		}
	}
	odd := false
	for key := range want {
		odd = odd || !plain(key) || len(key) > 250
	}
	a.points = append(a.points, kept{res.Point, name, want, odd})
}

// fill gives the primary and the directory content of all kinds, the same in part in each round.
func (a *arena) fill(t *testing.T, round int) {
	t.Helper()
	ctx := t.Context()
	big := noise(7, 3<<20)
	copy(big[1<<20:], noise(uint64(100+round), 64<<10))
	a.put(ctx, t, "media/big.bin", big)
	for i := range 24 {
		seed := uint64(i)
		if i%6 == 0 {
			seed += uint64(1000 * round)
		}
		a.put(ctx, t, fmt.Sprintf("docs/%02d.txt", i), noise(seed, 500+311*i))
	}
	a.put(ctx, t, fmt.Sprintf("logs/round-%d", round), []byte(strings.Repeat(fmt.Sprintf("line of round %d\n", round), 5000)))
	a.put(ctx, t, "empty", nil)
	for i := range 12 {
		writeFile(t, filepath.Join(a.site, fmt.Sprintf("page%02d.html", i)), noise(uint64(50+i+100*round*(i%2)), 2000+i))
	}
	writeFile(t, filepath.Join(a.site, "assets", "film"), noise(9, 2<<20))
}

func (a *arena) put(ctx context.Context, t *testing.T, key string, body []byte) {
	t.Helper()
	if err := put(ctx, a.root, a.primary, key, body); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

func sumsOfDir(t *testing.T, root string) map[string][sha256.Size]byte {
	t.Helper()
	out := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		out[filepath.ToSlash(name)] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sumsOfBucket(t *testing.T, a *arena, bucket string) map[string][sha256.Size]byte {
	t.Helper()
	out := map[string][sha256.Size]byte{}
	p := s3.NewListObjectsV2Paginator(a.root, &s3.ListObjectsV2Input{Bucket: &bucket, EncodingType: types.EncodingTypeUrl})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			key := unescape(*o.Key)
			b, err := get(t.Context(), a.root, bucket, key, "")
			if err != nil {
				t.Fatal(err)
			}
			out[key] = sha256.Sum256(b)
		}
	}
	return out
}

// verify looks at the whole vault with a reader's key and the restore key.
func (a *arena) verify(t *testing.T) (verify.Summary, []verify.Finding) {
	t.Helper()
	rp, err := repo.Find(t.Context(), a.in, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var found []verify.Finding
	sum, err := verify.Run(t.Context(), verify.Options{
		Repository: rp, In: a.in, Identities: []keys.Identity{a.restore}, Level: verify.Content,
		Emit: func(f verify.Finding) { found = append(found, f) },
	})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return sum, found
}

// version is one version in a bucket.
type version struct {
	key, id string
	marker  bool
}

// versions lists a bucket, the newest of each key first.
func versions(ctx context.Context, c *s3.Client, bucket, prefix string) (out []version, err error) {
	seen := map[[2]string]bool{}
	in := &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix, EncodingType: types.EncodingTypeUrl}
	for {
		page, err := c.ListObjectVersions(ctx, in)
		if err != nil {
			return nil, err
		}
		add := func(key, id *string, marker bool) {
			if at := [2]string{*key, aws.ToString(id)}; !seen[at] {
				seen[at] = true
				out = append(out, version{unescape(*key), aws.ToString(id), marker})
			}
		}
		for _, v := range page.Versions {
			add(v.Key, v.VersionId, false)
		}
		for _, v := range page.DeleteMarkers {
			add(v.Key, v.VersionId, true)
		}
		if !aws.ToBool(page.IsTruncated) || page.NextKeyMarker == nil {
			return out, nil
		}
		// Escaped like the keys; the SDK's paginator sends it back as it is, and what is between is never listed.
		in.KeyMarker, in.VersionIdMarker = aws.String(unescape(*page.NextKeyMarker)), page.NextVersionIdMarker
	}
}

// unescape undoes what listings do to keys when they are asked to.
func unescape(key string) string {
	if plain, err := url.QueryUnescape(key); err == nil {
		return plain
	}
	return key
}

func get(ctx context.Context, c *s3.Client, bucket, key, id string) ([]byte, error) {
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if id != "" {
		in.VersionId = &id
	}
	got, err := c.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	return io.ReadAll(got.Body)
}

// code is what a server answered, empty if it did not.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// remember takes down every version that is there, with its bytes and its lock, as the vault's owner sees it.
func (a *arena) remember(t *testing.T) map[string]locked {
	t.Helper()
	list, err := versions(t.Context(), a.root, a.bucket, "")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]locked{}
	for _, v := range list {
		if v.marker {
			continue
		}
		if a.before != nil {
			if _, was := a.before[v.key+" "+v.id]; !was {
				continue // an attacker's: only what was there counts
			}
		}
		b, err := get(t.Context(), a.root, a.bucket, v.key, v.id)
		if err != nil {
			t.Fatalf("%s: %v", v.key, err)
		}
		r, err := a.root.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: &a.bucket, Key: &v.key, VersionId: &v.id})
		if err != nil {
			t.Fatalf("%s: %v", v.key, err)
		}
		if r.Retention.Mode != "COMPLIANCE" {
			t.Fatalf("%s is held by %q", v.key, r.Retention.Mode)
		}
		out[v.key+" "+v.id] = locked{sha256.Sum256(b), int64(len(b)), *r.Retention.RetainUntilDate}
	}
	return out
}
