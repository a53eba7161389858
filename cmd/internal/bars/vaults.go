package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// leaveOutBar is how long a run with little to do may take that finds one of its vaults down for good.
const leaveOutBar = 45 * time.Second

// wire stands before a server. The request that trips it is never answered, and the server's process is killed then.
type wire struct {
	s     *servers.Server
	front *httptest.Server

	mu   sync.Mutex
	trip func(method, path string) bool
	down bool
}

func newWire(s *servers.Server) (*wire, error) {
	to, err := url.Parse(s.Direct)
	if err != nil {
		return nil, err
	}
	w := &wire{s: s}
	forward := &httputil.ReverseProxy{
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header["X-Forwarded-For"] = nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.tripped(r) {
			panic(http.ErrAbortHandler) // the connection just ends
		}
		forward.ServeHTTP(rw, r)
	}))
	return w, nil
}

func (w *wire) tripped(r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trip != nil && w.trip(r.Method, r.URL.Path) {
		w.trip = nil
		w.kill()
	}
	return w.down
}

// kill ends the server; the lock is held.
func (w *wire) kill() {
	w.down = true
	if err := w.s.Kill(); err != nil {
		fmt.Println("  kill:", err)
	}
}

func (w *wire) set(trip func(method, path string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trip = trip
}

// stop kills the server now.
func (w *wire) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kill()
}

// isDown reports whether the server was killed.
func (w *wire) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *wire) start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trip, w.down = nil, false
	return w.s.Restart(ctx)
}

// moments are when a vault goes down.
func moments() []struct {
	name string
	trip func(method, path string) bool // nil: before the run
} {
	put := func(dir string) func(string, string) bool {
		return func(method, path string) bool { return method == http.MethodPut && strings.Contains(path, "/"+dir+"/") }
	}
	return []struct {
		name string
		trip func(method, path string) bool
	}{
		{"at the start", nil},
		{"in the middle", put("packs")},
		{"at the commit", put("points")},
	}
}

// named is a vault of the configuration.
type named struct {
	name          string
	write, reader place
	wire          *wire // nil: never killed
}

// pair is a job with several vaults.
type pair struct {
	*job
	source place
	vaults []*named
	more   string // lines of the configuration
}

// at is the job as a restore from one of the vaults sees it.
func (p *pair) at(i int) *job {
	j := *p.job
	j.reader = p.vaults[i].reader
	return &j
}

// configure writes holdfast.yaml for the vaults there are now.
func (p *pair) configure() error {
	var b strings.Builder
	b.WriteString("vaults:\n")
	p.env = append(environment(), "HOME="+filepath.Join(p.dir, "home"))
	p.env = append(p.env, credentials("SOURCE", p.source.creds)...)
	for _, v := range p.vaults {
		env := strings.ToUpper(v.name)
		fmt.Fprintf(&b, "  - name: %s\n    url: %q\n%s", v.name, v.write.url, credentialLine(v.write, env))
		if !strings.HasPrefix(v.write.url, "file:") {
			b.WriteString("    lock: {mode: compliance, slack: 10d, ceiling: 400d}\n")
		}
		p.env = append(p.env, credentials(env, v.write.creds)...)
	}
	recipient, err := os.ReadFile(filepath.Join(p.dir, "recipient"))
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "keys:\n  recipients: [%s]\n  host: host.key\nsources:\n  - name: tree\n    url: %q\n%sretention: {daily: 35d}\ncache: %q\n",
		recipient, p.source.url, credentialLine(p.source, "SOURCE"), filepath.Join(p.dir, "cache"))
	b.WriteString(p.more)
	return os.WriteFile(filepath.Join(p.dir, "holdfast.yaml"), []byte(b.String()), 0o600)
}

// newPair makes keys, configuration and the repository in every vault.
func newPair(ctx context.Context, w *world, source place, vaults ...*named) (*pair, error) {
	p := &pair{job: &job{w: w, dir: w.path("job")}, source: source, vaults: vaults}
	for _, d := range []string{"", "home", "nowhere", "safe"} {
		if err := os.MkdirAll(filepath.Join(p.dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	p.identity = filepath.Join(p.dir, "safe", "restore.key")
	out, _, err := execute(ctx, p.dir, environment(), w.holdfast, "keygen", "--out", p.identity)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "recipient"), regexp.MustCompile(`age1[a-z0-9]+`).Find(out), 0o600); err != nil {
		return nil, err
	}
	return p, p.initialise(ctx)
}

func (p *pair) initialise(ctx context.Context) error {
	if err := p.configure(); err != nil {
		return err
	}
	_, _, err := execute(ctx, p.dir, p.env, p.w.holdfast, "init")
	return err
}

// outcome is a run over several vaults.
type outcome struct {
	cost
	code  int
	lines map[string]line
	diag  string
}

type line struct {
	made
	Vault  string `json:"vault"`
	Copied int64  `json:"objects_copied"`
	Error  string `json:"error"`
}

// runAll makes a point, whatever becomes of it. The restore key is out of reach meanwhile.
func (p *pair) runAll(ctx context.Context, label string) (outcome, error) {
	hidden := filepath.Join(p.w.dir, "hidden")
	if err := os.Rename(filepath.Join(p.dir, "safe"), hidden); err != nil {
		return outcome{}, err
	}
	out, c, err := execute(ctx, p.dir, p.env, p.w.holdfast, "--json", "run")
	o := outcome{cost: c, lines: map[string]line{}}
	if rerr := os.Rename(hidden, filepath.Join(p.dir, "safe")); rerr != nil {
		return o, rerr
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.code, o.diag = exit.ExitCode(), err.Error()
	} else if err != nil {
		return o, err
	}
	for _, b := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return o, fmt.Errorf("what run printed cannot be read: %w: %s", err, tail(out))
		}
		o.lines[l.Vault] = l
	}
	fmt.Printf("%s: exit %d, %s\n", label, o.code, c)
	for _, v := range p.vaults {
		l := o.lines[v.name]
		fmt.Printf("  %-8s %-9s +%d ~%d -%d, read %d B, stored %d B in %d objects, %d of them copied\n",
			v.name, l.Status, l.Added, l.Changed, l.Deleted, l.BytesRead, l.BytesStored, l.ObjectsStored, l.Copied)
	}
	return o, nil
}

// holds restores the newest point of a vault to a directory and compares.
func (p *pair) holds(ctx context.Context, i int, point string, was state, what string) error {
	if point == "" {
		p.w.bar(false, "%s: there is no point in %s", what, p.vaults[i].name)
		return nil
	}
	dir := p.w.path("restored")
	if _, err := p.at(i).restore(ctx, "  restore from "+p.vaults[i].name, point, dirAt(dir)); err != nil {
		return err
	}
	is, err := folderState(dir, true)
	if err != nil {
		return err
	}
	p.w.same(what+", restored from "+p.vaults[i].name, was, is, true)
	return os.RemoveAll(dir)
}

// killable starts a server of its own behind a wire, with a locked bucket.
func (w *world) killable(ctx context.Context, name string, k servers.Kind) (*named, error) {
	s, err := servers.Start(ctx, k)
	if err != nil {
		return nil, err
	}
	w.extra = append(w.extra, s.Close)
	wr, err := newWire(s)
	if err != nil {
		return nil, err
	}
	w.extra = append(w.extra, func() error { wr.front.Close(); return nil })
	v := &named{name: name, wire: wr}
	return v, v.bucket(ctx, s, wr.front.URL)
}

// bucket gives the vault a new bucket.
func (v *named) bucket(ctx context.Context, s *servers.Server, endpoint string) error {
	name, err := s.MakeBucket(ctx, servers.BucketOptions{Lock: true})
	if err != nil {
		return err
	}
	write, err := s.MakeUser(ctx, servers.WriterPolicy(name))
	if err != nil {
		return err
	}
	read, err := s.MakeUser(ctx, servers.ReaderPolicy(name))
	if err != nil {
		return err
	}
	l := s3url.Location{Bucket: name, Prefix: "prod", Endpoint: endpoint, Region: servers.Region, PathStyle: true}
	v.write, v.reader = place{l.String(), write}, place{l.String(), read}
	return nil
}

// vaults plays what can happen to one of two vaults.
func vaults(ctx context.Context, w *world) error {
	sc, err := bucketScene(ctx, w, servers.KindVersityGW, 54, func(b *bucket) error { return b.fillNoise(ctx, 6, 14<<20, 0) })
	if err != nil {
		return err
	}
	east, err := w.killable(ctx, "east", servers.KindMinIO)
	if err != nil {
		return err
	}
	west, err := w.killable(ctx, "west", servers.KindVersityGW)
	if err != nil {
		return err
	}
	p, err := newPair(ctx, w, sc.source, east, west)
	if err != nil {
		return err
	}
	for _, m := range moments() {
		for i := range p.vaults {
			if err := p.falls(ctx, sc, i, m.name, m.trip); err != nil {
				return err
			}
		}
	}
	if err := p.wiped(ctx, sc); err != nil {
		return err
	}
	if err := p.joined(ctx, sc); err != nil {
		return err
	}
	return lostPack(ctx, w, sc)
}

// falls lets one vault go down, and come back for the next run.
func (p *pair) falls(ctx context.Context, sc scene, i int, when string, trip func(method, path string) bool) error {
	v, other := p.vaults[i], p.vaults[1-i]
	if _, err := sc.edit(ctx, 4, 2, 2); err != nil {
		return err
	}
	time.Sleep(2100 * time.Millisecond)
	was, err := sc.state(ctx)
	if err != nil {
		return err
	}
	if trip == nil {
		v.wire.stop()
	} else {
		v.wire.set(trip)
	}
	o, err := p.runAll(ctx, v.name+" down "+when)
	if err != nil {
		return err
	}
	what := v.name + " down " + when
	p.w.bar(v.wire.isDown() && o.code == 1 && o.lines[v.name].Status == "failed" && o.lines[other.name].Status == "complete",
		"%s: exit %d, %s %s, %s %s", what, o.code, v.name, o.lines[v.name].Status, other.name, o.lines[other.name].Status)
	if o.code != 1 {
		fmt.Println(o.diag)
	}
	p.w.bar(o.wall < leaveOutBar, "%s: the run took %.1f s, bar %.0f s", what, o.wall.Seconds(), leaveOutBar.Seconds())
	if err := p.holds(ctx, 1-i, o.lines[other.name].Point, was, what); err != nil {
		return err
	}
	if err := v.wire.start(ctx); err != nil {
		return err
	}
	return p.whole(ctx, what+", the next run", was, 0)
}

// whole makes a point that must be whole in every vault and have read nothing from the source.
func (p *pair) whole(ctx context.Context, what string, was state, code int) error {
	o, err := p.runAll(ctx, what)
	if err != nil {
		return err
	}
	complete, read := 0, int64(0)
	for _, v := range p.vaults {
		if l := o.lines[v.name]; l.Status == "complete" {
			complete++
			read = max(read, l.BytesRead)
		}
	}
	p.w.bar(complete == len(p.vaults) && o.code == code, "%s: exit %d, complete in %d of %d vaults", what, o.code, complete, len(p.vaults))
	if o.code != code {
		fmt.Println(o.diag)
	}
	p.w.bar(read == 0, "%s: read %d bytes from the source, where nothing changed", what, read)
	p.w.bar(o.peak < memoryBar || o.peak <= ownPeak(), "%s: peak memory %d MiB, bar %d MiB", what, o.peak>>20, memoryBar>>20)
	for i, v := range p.vaults {
		if err := p.holds(ctx, i, o.lines[v.name].Point, was, what); err != nil {
			return err
		}
	}
	return nil
}

// wiped puts a new empty bucket in the place of each vault in turn.
func (p *pair) wiped(ctx context.Context, sc scene) error {
	was, err := sc.state(ctx)
	if err != nil {
		return err
	}
	for _, v := range p.vaults {
		if err := v.bucket(ctx, v.wire.s, v.wire.front.URL); err != nil {
			return err
		}
		if err := p.configure(); err != nil {
			return err
		}
		o, err := p.runAll(ctx, v.name+" wiped, before init")
		if err != nil {
			return err
		}
		p.w.bar(o.code == 1 && o.lines[v.name].Status == "failed", "%s wiped, before init: exit %d, %s", v.name, o.code, o.lines[v.name].Error)
		if err := p.initialise(ctx); err != nil {
			return err
		}
		// The loss is reported loudly, once: exit 5.
		if err := p.whole(ctx, v.name+" wiped, after init", was, 5); err != nil {
			return err
		}
		if err := p.whole(ctx, v.name+" wiped, the run after", was, 0); err != nil {
			return err
		}
	}
	return nil
}

// joined adds a third vault.
func (p *pair) joined(ctx context.Context, sc scene) error {
	was, err := sc.state(ctx)
	if err != nil {
		return err
	}
	write, reader, err := p.w.lockedVault(ctx, servers.KindVersityGW)
	if err != nil {
		return err
	}
	p.vaults = append(p.vaults, &named{name: "north", write: write, reader: reader})
	if err := p.initialise(ctx); err != nil {
		return err
	}
	return p.whole(ctx, "a vault added", was, 0)
}

// lostPack takes a pack out of the only vault, a directory.
func lostPack(ctx context.Context, w *world, sc scene) error {
	at := dirAt(w.path("only"))
	p, err := newPair(ctx, w, sc.source, &named{name: "only", write: at, reader: at})
	if err != nil {
		return err
	}
	was, err := sc.state(ctx)
	if err != nil {
		return err
	}
	if _, err := p.runAll(ctx, "one vault"); err != nil {
		return err
	}
	packs, err := filepath.Glob(filepath.Join(strings.TrimPrefix(at.url, "file://"), "packs", "*", "*"))
	if err != nil || len(packs) < 2 {
		return fmt.Errorf("%d packs: %w", len(packs), err)
	}
	if err := os.Remove(packs[0]); err != nil {
		return err
	}
	o, err := p.runAll(ctx, "a pack gone from the only vault")
	if err != nil {
		return err
	}
	l := o.lines["only"]
	w.bar(o.code == 5 && l.Status == "complete" && l.BytesRead > 0 && l.BytesRead < was.bytes(),
		"a pack gone from the only vault: exit %d, %s; read %d of %d bytes again", o.code, l.Status, l.BytesRead, was.bytes())
	if err := p.holds(ctx, 0, l.Point, was, "a pack gone from the only vault"); err != nil {
		return err
	}
	return p.whole(ctx, "a pack gone, the run after", was, 0)
}
