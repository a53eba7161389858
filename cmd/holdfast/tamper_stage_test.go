package main

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/dirstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// directory is where a stage's vaults are if not on a server.
const directory servers.Kind = "directory"

// stage is a repository with two points of a small folder, in a directory or on a server, for one tampering. Its vaults are
// held by governance locks, so that whoever has every right there can take things away.
type stage struct {
	t       *testing.T
	dir     string
	kind    servers.Kind
	srv     *servers.Server
	vaults  []string // folder or bucket of each, by number
	host    *keys.HostKey
	restore keys.Identity
	points  []string // IDs, oldest first
	trees   []map[string]string
	bare    bool                              // commands that read know no configuration, but the vault's URL
	flags   []string                          // of every command that reads
	only    []string                          // of renew and prune, where there are several vaults
	needed  func([]format.Need) []format.Need // what the crafted point's needs list has
}

// stageOptions are what a row may want of its stage.
type stageOptions struct {
	vaults   int  // one if not said
	orphan   bool // no owner: the host key changes keys
	reporter bool // the machine has a reporter's key
	apart    bool // the points are signed in different seconds: what one that follows another says of it depends on that
}

func newStage(t *testing.T, kind servers.Kind, o stageOptions) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir(), kind: kind}
	if kind != directory {
		s.srv = shared.Get(t, kind)
	}
	s.restore = have(keys.GenerateIdentity(keys.X25519))
	s.ok(keys.WriteIdentityFile(s.path("restore.key"), s.restore, time.Now()))
	for s.host = have(keys.GenerateHostKey(keys.X25519)); cuts(s.host); {
		s.host = have(keys.GenerateHostKey(keys.X25519))
	}
	s.ok(keys.WriteHostKeyFile(s.path("host.key"), s.host))
	s.write("data/one.txt", "some text\n")
	s.write("data/sub/two.txt", "other text\n")
	for range max(1, o.vaults) {
		addVault(s)
	}
	if o.vaults > 1 {
		s.only = []string{"--vault", vaultName(0)}
	}
	s.configure(o)
	s.good("init")
	if o.reporter {
		s.good("key", "add-reporter", "--identity", s.path("restore.key"), "--name", "web-1", "--key", s.path("reporter.key"))
	}
	s.point()
	s.write("data/later.txt", "later text\n")
	if o.apart {
		nextSecond(time.Now().Truncate(time.Second))
	}
	s.point()
	return s
}

// cuts reports whether a host key cuts a page between keys of a stage's folder: what is named of a lost page depends on it.
func cuts(h *keys.HostKey) bool {
	cut := tree.NewCut(h.ChunkKey, format.DefaultParameters())
	return slices.ContainsFunc([]string{"later.txt", "more.txt", "one.txt", "sub/", "sub/two.txt"}, func(key string) bool { return cut.LeafBefore(key, false, 1, 0) })
}

// have is for what cannot fail in a test's own making.
func have[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *stage) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) write(name, text string) {
	s.t.Helper()
	s.ok(os.MkdirAll(filepath.Dir(s.path(name)), 0o700))
	s.ok(os.WriteFile(s.path(name), []byte(text), 0o600))
}

// addVault adds an empty vault.
func addVault(s *stage) {
	if s.srv == nil {
		s.vaults = append(s.vaults, s.path(fmt.Sprintf("vault%d", len(s.vaults))))
		return
	}
	s.vaults = append(s.vaults, s.srv.NewBucket(s.t, servers.BucketOptions{Lock: true}))
}

// configure writes the configuration, for the vaults there are.
func (s *stage) configure(o stageOptions) {
	var b strings.Builder
	b.WriteString("vaults:\n")
	for i, v := range s.vaults {
		if s.srv == nil {
			fmt.Fprintf(&b, "  - {name: %s, url: \"file://%s\"}\n", vaultName(i), v)
		} else {
			fmt.Fprintf(&b, "  - {name: %s, url: \"%s\", credentials: env:ROOT, lock: {mode: governance, slack: 2d, ceiling: 400d}}\n", vaultName(i), s.srv.URL(v, ""))
		}
	}
	owners := fmt.Sprintf("owners: [%s], ", keys.OwnerOf(s.restore))
	if o.orphan {
		owners = ""
	}
	if o.reporter {
		owners += fmt.Sprintf("reporter: %q, ", s.path("reporter.key"))
	}
	fmt.Fprintf(&b, "keys: {recipients: [%s], %shost: %q}\n", s.restore.Recipient(), owners, s.path("host.key"))
	fmt.Fprintf(&b, "cache: %q\nretention: {daily: 35d, weekly: 0, monthly: 0, yearly: 0}\nsources:\n  - {name: site, url: \"file://%s\"}\n", s.path("cache"), s.path("data"))
	s.write("holdfast.yaml", b.String())
}

// vaultName is a vault's name in the configuration.
func vaultName(i int) string { return []string{"first", "second", "third"}[i] }

// said is what a command line came to.
type said struct {
	code     int
	out, err string
}

// run runs a command line with the configuration.
func (s *stage) run(args ...string) said {
	s.t.Helper()
	return s.runs(append([]string{"-c", s.path("holdfast.yaml")}, args...)...)
}

// reads runs one that only reads.
func (s *stage) reads(args ...string) said {
	s.t.Helper()
	args = append(args, s.flags...)
	switch {
	case !s.bare:
		return s.run(args...)
	case s.srv == nil:
		return s.runs(append(args, "--vault", "file://"+s.vaults[0])...)
	}
	return s.runs(append(args, "--vault", s.srv.URL(s.vaults[0], ""), "--credentials", "env:ROOT")...)
}

// runs runs a command line as the program does.
func (s *stage) runs(args ...string) said {
	s.t.Helper()
	var files [2]*os.File
	for i := range files {
		files[i] = have(os.CreateTemp(s.dir, "said"))
	}
	a := (&app{ui: newUI(files[0], files[1]), stdin: strings.NewReader(""), env: s.env, now: time.Now, system: "/nowhere/holdfast"}).share()
	code := a.run(s.t.Context(), args)
	var text [2]string
	for i, f := range files {
		text[i] = string(have(os.ReadFile(f.Name())))
		s.ok(f.Close())
		s.ok(os.Remove(f.Name()))
	}
	if testing.Verbose() && code != 0 {
		s.t.Logf("holdfast %s: %d\n%s", strings.Join(args, " "), code, text[1])
	}
	return said{code, text[0], text[1]}
}

func (s *stage) env(name string) (string, bool) {
	if s.srv != nil {
		switch name {
		case "ROOT_ACCESS_KEY_ID":
			return s.srv.Root.AccessKeyID, true
		case "ROOT_SECRET_ACCESS_KEY":
			return s.srv.Root.SecretAccessKey, true
		}
	}
	return "", false
}

// good runs one that has to end well.
func (s *stage) good(args ...string) said {
	s.t.Helper()
	got := s.run(args...)
	if got.code != 0 {
		s.t.Fatalf("holdfast %s: %d\n%s%s", strings.Join(args, " "), got.code, got.out, got.err)
	}
	return got
}

// objects are the lines of JSON that a command printed.
func (x said) objects() (out []map[string]any) {
	for line := range strings.Lines(x.out) {
		o := map[string]any{}
		if json.Unmarshal([]byte(line), &o) == nil {
			out = append(out, o)
		}
	}
	return out
}

// point makes a point that has to come out well, and keeps what it has to give back.
func (s *stage) point() {
	s.t.Helper()
	s.points = append(s.points, s.good("run", "--json").objects()[0]["point"].(string))
	s.trees = append(s.trees, s.tree("data"))
}

// tree is a folder's files with what is in them.
func (s *stage) tree(dir string) map[string]string {
	out := map[string]string{}
	_ = filepath.WalkDir(s.path(dir), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			name, _ := filepath.Rel(s.path(dir), path)
			b, _ := os.ReadFile(path)
			out[name] = string(b)
		}
		return nil
	})
	return out
}

// open is a vault as its administrator reads it.
func (s *stage) open(vault int) store.Reader {
	if s.srv == nil {
		d := have(dirstore.Open(s.vaults[vault], dirstore.Options{ReadOnly: true}))
		s.t.Cleanup(func() { _ = d.Close() })
		return d
	}
	l := s.srv.Location(s.vaults[vault])
	l.Endpoint = s.srv.Direct
	d := have(s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(s.srv.Root)}))
	s.t.Cleanup(func() { _ = d.Close() })
	return d
}

// repositoryOf is what a vault shows.
func repositoryOf(s *stage) *repo.Repository {
	s.t.Helper()
	return have(repo.Find(s.t.Context(), s.open(0), "", nil))
}

// read gives what lies under a name in the first vault.
func (s *stage) read(name string) []byte {
	s.t.Helper()
	r := have(s.open(0).Open(s.t.Context(), store.Ref{Name: name}, 0, -1))
	defer r.Close()
	return have(io.ReadAll(r))
}

// put lays an object into the first vault; over what lies there already, as far as the place allows: in a directory it is gone
// then, on a server it is an older version. It is locked, for longer than anything of ours.
func (s *stage) put(name string, body []byte) { s.t.Helper(); s.putIn(0, name, body) }

func (s *stage) putIn(vault int, name string, body []byte) {
	s.t.Helper()
	if s.srv == nil {
		at := filepath.Join(s.vaults[vault], filepath.FromSlash(name))
		s.ok(os.MkdirAll(filepath.Dir(at), 0o700))
		_ = os.Remove(at)
		s.ok(os.WriteFile(at, body, 0o400))
		return
	}
	_, err := s.srv.Admin().PutObject(s.t.Context(), s.vaults[vault], name, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{
		Mode: minio.Governance, RetainUntilDate: time.Now().Add(60 * 24 * time.Hour), SendContentMd5: true, DisableContentSha256: true,
	})
	s.ok(err)
}

// framed is an object of one plain frame.
func framed(plain []byte) []byte { return have(pack.NewEncoder()).Frame(nil, plain) }

// summary counts words: "2 complete, 1 newer".
func summary(words []string) string {
	n := map[string]int{}
	for _, w := range words {
		n[w]++
	}
	var out []string
	for _, w := range slices.Sorted(maps.Keys(n)) {
		out = append(out, fmt.Sprintf("%d %s", n[w], w))
	}
	return cmp.Or(strings.Join(out, ", "), "nothing")
}

// outcomeOf runs every command and puts down what each came to: its exit code, what is listed, what is found, which points come back.
func outcomeOf(s *stage) string {
	s.t.Helper()
	var out []string
	note := func(what string, code int, more string) {
		line := fmt.Sprintf("%s %d", what, code)
		if more != "" {
			line += ": " + more
		}
		out = append(out, line)
	}
	listed := s.reads("points", "--json")
	note("points", listed.code, listedIn(listed))
	found := s.reads("verify", "--json")
	note("verify", found.code, foundIn(found))
	found = s.reads("verify", "--level", "content", "--identity", s.path("restore.key"), "--json")
	note("content", found.code, foundIn(found))
	if s.srv != nil { // a directory keeps no locks
		note("renew", s.run(append([]string{"renew", "--json"}, s.only...)...).code, "")
	}
	pruned := s.run(append([]string{"prune", "--json"}, s.only...)...)
	refused := ""
	if strings.Contains(pruned.err, prune.ErrUnsure.Error()) {
		refused = "refused"
	}
	note("prune", pruned.code, refused)
	latest := s.reads("restore", "site@latest", "--to", s.path("latest"), "--identity", s.path("restore.key"))
	note("latest", latest.code, whoseVault(s, "latest"))
	back := 0
	for i, id := range s.points {
		to := fmt.Sprintf("back%d", i)
		s.reads("restore", id, "--to", s.path(to), "--identity", s.path("restore.key"))
		if maps.Equal(s.tree(to), s.trees[i]) {
			back++
		}
	}
	out = append(out, fmt.Sprintf("back %d of %d", back, len(s.points)))
	s.write("data/more.txt", "more text\n")
	ran := s.run("run", "--json")
	status := []string{}
	for _, o := range ran.objects() {
		if w, ok := o["status"].(string); ok {
			status = append(status, w)
		}
	}
	note("run", ran.code, summary(status))
	again := s.reads("restore", "site@latest", "--to", s.path("next"), "--identity", s.path("restore.key"))
	next := "not the new point"
	if maps.Equal(s.tree("next"), s.tree("data")) {
		next = "the new point"
	}
	note("next", again.code, next)
	return strings.Join(out, "; ")
}

// listedIn says what `points` listed.
func listedIn(x said) string {
	var words []string
	for _, o := range x.objects() {
		w, ok := o["status"].(string)
		if !ok {
			continue
		}
		for _, mark := range []string{"late", "distrusted"} {
			if o[mark] == true {
				w += " " + mark
			}
		}
		words = append(words, w)
	}
	return summary(words)
}

// foundIn says what `verify` found, by kind and by folder, and how many records it counted, if any.
func foundIn(x said) string {
	var words []string
	records := ""
	for _, o := range x.objects() {
		if n, _ := o["records"].(float64); n > 0 {
			records = fmt.Sprintf(", %g records", n)
		}
		if kind, ok := o["finding"].(string); ok {
			folder, _, _ := strings.Cut(o["name"].(string), "/")
			words = append(words, kind+" "+folder)
		}
	}
	return summary(words) + records
}

// whoseVault tells of which point a folder has the files.
func whoseVault(s *stage, dir string) string {
	got := s.tree(dir)
	for i := len(s.trees) - 1; i >= 0; i-- {
		if maps.Equal(got, s.trees[i]) {
			return fmt.Sprintf("point %d", i+1)
		}
	}
	return fmt.Sprintf("%d files of no point", len(got))
}

// signPoint is a point's name as a key signs it.
func signPoint(k ed25519.PrivateKey, repository format.Hash, source string, at format.Time, body []byte) string {
	p := format.PointID{Source: source, SignedAt: at, ID: sha256.Sum256(body), Hint: format.KeyHint(k.Public().(ed25519.PublicKey))}
	p.Signature = attest.Sign(k, attest.Point, p.Message(repository))
	return p.Name()
}

// signPlacements is a placements object's name as a key signs it.
func signPlacements(k ed25519.PrivateKey, repository format.Hash, vault string, at format.Time, stored []byte) string {
	p := format.PlacementsID{Vault: vault, Written: at, Sum: sha256.Sum256(stored), Hint: format.KeyHint(k.Public().(ed25519.PublicKey))}
	p.Signature = attest.Sign(k, attest.Placements, p.Message(repository))
	return p.Name()
}

// signDescriptor is a later descriptor's name as a key signs it.
func signDescriptor(k ed25519.PrivateKey, repository format.Hash, number int, body []byte) string {
	d := format.DescriptorID{Number: number, Sum: sha256.Sum256(body), Hint: format.KeyHint(k.Public().(ed25519.PublicKey))}
	d.Signature = attest.Sign(k, attest.DescriptorName, d.Message(repository))
	return d.Name()
}
