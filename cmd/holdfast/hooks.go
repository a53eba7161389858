package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/process"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// hooks are what is run before and after one source, or before and after all of them. The second is run whenever the first was
// begun, whatever came of that and of the source, and also when the run was stopped: what the first one set up is to be taken down.
type hooks struct {
	*job
	config.Hooks
	source string // empty: around the whole run
	begun  bool
}

// newHooks gives those that are run: by a dry run none.
func newHooks(j *job, h config.Hooks, source string, dry bool) *hooks {
	if dry {
		h = config.Hooks{}
	}
	return &hooks{job: j, Hooks: h, source: source}
}

// name is how the lines of a hook begin.
func (h *hooks) name(which string) string {
	if h.source == "" {
		return which + " hook"
	}
	return h.source + ": " + which + " hook"
}

// before runs the first. If it comes to nothing nothing is read.
func (h *hooks) before(ctx context.Context) error {
	if err := ctx.Err(); err != nil || !h.Any() {
		return err
	}
	if _, err := h.hostKey(); err != nil {
		return err // nothing can come of it, so nothing is set up for it
	}
	h.begun = true
	err := h.run(ctx, "before", h.Before)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; nothing was read", err)
	}
	return err
}

// after runs the second, and tells it what came of it all.
func (h *hooks) after(ctx context.Context, status, point string) error {
	if !h.begun {
		return nil
	}
	return h.run(context.WithoutCancel(ctx), "after", h.After, "HOLDFAST_STATUS="+status, "HOLDFAST_POINT="+point)
}

func (h *hooks) run(ctx context.Context, which string, argv []string, tell ...string) error {
	if len(argv) == 0 {
		return nil
	}
	h.pulse.waits(h.name(which))
	says := newRelay(h.ui, h.name(which))
	err := process.Run(ctx, process.Options{
		Argv: argv, Dir: filepath.Dir(h.config.Path), Timeout: h.Timeout, Line: says.line,
		Env: append(programEnv(h.config), append(tell, "HOLDFAST_HOOK="+which, "HOLDFAST_SOURCE="+h.source)...),
	})
	if _, failed := errors.AsType[*process.Failure](err); failed {
		says.failed()
		return &marked{errHook, fmt.Errorf("the %s hook %s %w", which, safe(argv[0]), err)}
	}
	return err
}

// pointStatus says to a hook what came of a source.
func pointStatus(ctx context.Context, r *backup.Result, err error) (status, point string) {
	switch {
	case err == nil && r.Point.IsZero(): // there was nothing to make one of
		return r.Status, ""
	case err == nil:
		return r.Status, r.Point.String()
	case ctx.Err() != nil:
		return "stopped", ""
	}
	return "failed", ""
}

// runStatus says to the hook of a whole run what came of it.
func runStatus(ctx context.Context, err error) string {
	switch code, _ := exitOf(ctx, err); code {
	case exitDone, exitAlarm:
		return format.StatusComplete
	case exitIncomplete:
		return format.StatusIncomplete
	case exitInterrupt, exitTerminate:
		return "stopped"
	}
	return "failed"
}

// relay passes on what a program says. Where remarks are not shown the last of it is kept, and told if the program fails.
type relay struct {
	ui   *ui
	name string
	mu   sync.Mutex
	kept []string
}

// maxKept is how many lines are kept of what a program says.
const maxKept = 20

func newRelay(u *ui, name string) *relay { return &relay{ui: u, name: name} }

func (s *relay) line(text string) {
	s.ui.remark("%s: %s", s.name, text)
	if !s.ui.quiet && !s.ui.json {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept = append(s.kept, text); len(s.kept) > maxKept {
		s.kept = slices.Delete(s.kept, 0, 1)
	}
}

func (s *relay) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.kept {
		s.ui.warn("%s: %s", s.name, text)
	}
	s.kept = nil
}

// programEnv is the environment of programs that the configuration names: this one's, without what holdfast's own secrets are in
// or could be found by.
func programEnv(c *config.Config) []string {
	own := ownVariables(c)
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(own, func(is string) bool {
			if prefix, ok := strings.CutSuffix(is, "*"); ok {
				return strings.HasPrefix(name, prefix)
			}
			return name == is
		})
	})
}

// ownVariables are those that are no business of other programs: a * at the end stands for any end.
func ownVariables(c *config.Config) []string {
	own := []string{"HOLDFAST_*", "AWS_*", "OTEL_*", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*"}
	var refs []string
	for _, v := range c.Vaults {
		refs = append(refs, v.Credentials.String())
	}
	for _, s := range c.Sources {
		refs = append(refs, s.Credentials.String())
	}
	for _, r := range c.Notify {
		refs = append(refs, r.URLIn.String(), r.Secret.String(), r.Credentials.String())
	}
	for _, ref := range refs {
		if name, ok := strings.CutPrefix(ref, "env:"); ok {
			own = append(own, name, name+"_*")
		}
	}
	return own
}

// trustedPrograms refuses programs of the configuration that somebody else could have written: they are run with this user's rights.
func trustedPrograms(a *trusting, c *config.Config, sources []config.Source) error {
	for _, p := range programsOf(c, sources) {
		path, err := process.Find(p.argv[0], filepath.Dir(c.Path))
		if err != nil {
			continue // it is said where it is run
		}
		if err := a.me().File(path); err != nil {
			return fmt.Errorf("%s: %w", p.where, err)
		}
	}
	return nil
}

// namedProgram is one that the configuration names, and where.
type namedProgram struct {
	where string
	argv  []string
}

// programsOf gives the programs that a run of these sources runs.
func programsOf(c *config.Config, sources []config.Source) []namedProgram {
	all := []namedProgram{{"hooks.before", c.Hooks.Before}, {"hooks.after", c.Hooks.After}}
	for _, s := range sources {
		at := "source " + s.Name + ": "
		all = append(all, namedProgram{at + "hooks.before", s.Hooks.Before}, namedProgram{at + "hooks.after", s.Hooks.After}, namedProgram{at + "command", s.Command})
	}
	return slices.DeleteFunc(all, func(p namedProgram) bool { return len(p.argv) == 0 })
}

// tellNotRun says what a look ahead leaves out.
func tellNotRun(u *ui, c *config.Config, sources []config.Source) {
	if c.Hooks.Any() || slices.ContainsFunc(sources, func(s config.Source) bool { return s.Hooks.Any() }) {
		u.remark("Hooks are not run: what they would set up is not there to be looked at.")
	}
	for _, s := range sources {
		if s.URL.Program() {
			u.remark("%s: the program is not run: what it would write is taken to be as much as in the last point.", s.Name)
		}
	}
}
