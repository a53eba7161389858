package watch_test

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// post is somebody who looks at a vault from another machine: all it has is a reader, a file of its own, and a clock.
type post struct {
	*testing.T
	w        *lifetest.World
	in       store.Reader
	inspect  store.Inspector
	path     string // of the memory
	now      func() time.Time
	change   func(*watch.Options)
	reporter *evidence.Reporter
	asked    *meter.Meter
}

func newPost(t *testing.T, o lifetest.Options) *post {
	t.Helper()
	o.Dir, o.Memory, o.Fetchers = t.TempDir(), 16<<20, 1
	if o.Objects == 0 {
		o.Objects = 30
	}
	if o.Size == 0 {
		o.Size = 512
	}
	w, err := lifetest.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := &post{T: t, w: w, in: w.Store, inspect: w.Store, path: filepath.Join(t.TempDir(), "offsite.json"), now: w.Now, asked: meter.New(meter.Options{})}
	p.record()
	return p
}

// record has a reporter join, which signs what is done.
func (p *post) record() {
	p.Helper()
	key, err := keys.GenerateReporterKey("job", "job")
	p.must(err)
	v := *p.w.Vault
	_, err = repo.Change(p.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{&v}, Old: p.w.Host, New: p.w.Host, Recipients: []keys.Recipient{p.w.Key.Recipient()}, Need: 366 * day, Now: p.w.Now,
		Reporters: []format.Key{format.ReporterKey(key.Public(), key.Name, key.Role)},
	})
	p.must(err)
	book, lock, err := evidence.OpenBook(p.Context(), p.TempDir())
	p.must(err)
	p.Cleanup(func() { _ = lock.Close() })
	found, err := p.w.Repository(p.Context())
	p.must(err)
	p.reporter = &evidence.Reporter{Key: key, Repository: found.ID, Book: book, Vaults: []evidence.Vault{{
		Name: "offsite", Read: p.w.Vault.Read, Write: p.w.Vault.Write, Mode: store.Compliance, Keep: 400 * day, Ceiling: 500 * day,
	}}}
}

func (p *post) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// run is a night of the job: a point, and a record of it.
func (p *post) run() {
	p.Helper()
	p.night(true)
}

func (p *post) night(recorded bool) {
	p.Helper()
	res, err := p.w.Run(p.Context())
	p.must(err)
	if !recorded {
		return
	}
	_, err = p.reporter.Add(p.Context(), evidence.Statement{Time: p.w.Clock, Type: "run", Body: fmt.Appendf(nil,
		`{"lines":[{"source":"uploads","vault":"offsite","status":"complete","point":%q}]}`, res.Point)})
	p.must(err)
}

// look looks, and remembers in the file, as a program does that is started anew for every look.
func (p *post) look() watch.Report {
	p.Helper()
	m, err := watch.ReadMemory(p.path)
	p.must(err)
	o := watch.Options{
		Inspect: p.inspect, Locks: true, Allowed: 30 * time.Hour, Now: p.now,
		Hours: watch.Hours{Window: schedule.Window{From: 60, To: 6 * 60}},
	}
	in := p.asked.Reader(p.in)
	found, err := repo.Find(p.Context(), in, "", func(f repo.Finding) { o.Noticed = append(o.Noticed, f) })
	o.Err, o.View = err, browse.View{Repository: found, In: in, Vault: "offsite"}
	if p.change != nil {
		p.change(&o)
	}
	r := watch.Look(p.Context(), o, m)
	p.must(m.Write(p.path))
	return r
}

// begin lives some days with a look after each run and one at noon, and is silent.
func (p *post) begin(days int) {
	p.Helper()
	p.change = func(o *watch.Options) { o.Expected = true }
	for i := range days {
		p.run()
		p.silent()
		p.change = nil
		if i+1 < days {
			p.w.Pass(day)
		}
	}
}

// silent looks and wants nothing to be told.
func (p *post) silent() {
	p.Helper()
	if r := p.look(); len(r.Findings)+len(r.Over) > 0 {
		p.Fatalf("%s: %s", p.w.Clock.Format(time.RFC3339), told(r))
	}
}

func told(r watch.Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s: %s (new %t)", f.Kind, f.Source, f.Text, f.New))
	}
	for _, f := range r.Over {
		out = append(out, fmt.Sprintf("over: %s %s: %s", f.Kind, f.Source, f.Text))
	}
	return strings.Join(out, "\n")
}

// finds looks and wants exactly these kinds to be told as new, each with a text.
func (p *post) finds(want ...string) watch.Report {
	p.Helper()
	r := p.look()
	var got []string
	for _, f := range r.Findings {
		if f.New {
			got = append(got, string(f.Kind)+" "+f.Text)
		}
	}
	ok := len(got) == len(want)
	for i := range want {
		kind, text, _ := strings.Cut(want[i], " ")
		ok = ok && strings.HasPrefix(got[i], kind+" ") && strings.Contains(got[i], text)
	}
	if !ok {
		p.Fatalf("want %q, found:\n%s", want, told(r))
	}
	return r
}

// tells looks and wants these words among what is told.
func (p *post) tells(want ...string) {
	p.Helper()
	text := told(p.look())
	for _, s := range want {
		if !strings.Contains(text, s) {
			p.Fatalf("want %q in:\n%s", s, text)
		}
	}
}

// over looks and wants these kinds to be over, and nothing new.
func (p *post) over(want ...watch.Kind) {
	p.Helper()
	r := p.look()
	var got []watch.Kind
	for _, f := range r.Over {
		got = append(got, f.Kind)
	}
	if !slices.Equal(got, want) || slices.ContainsFunc(r.Findings, func(f watch.Finding) bool { return f.New }) {
		p.Fatalf("want %q to be over:\n%s", want, told(r))
	}
}

// pointsOf gives the names of points in the vault, the oldest first.
func (p *post) points() (out []store.Ref) {
	p.Helper()
	for info, err := range p.w.Store.Versions(p.Context(), format.PrefixPoints, "") {
		p.must(err)
		out = append(out, info.Ref)
	}
	return out
}

// shows is a vault that does not show everything.
type shows struct {
	store.Reader
	hides func(store.Info) bool
}

func (s shows) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range s.Reader.Versions(ctx, prefix, after) {
			if err == nil && s.hides(info) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}
