// Package process runs the programs that a configuration names: hooks, and the commands whose output is a source.
//
// A program is run without a shell, in a process group of its own, with nothing on its standard input and with the environment
// that it is given and no other. It ends when its context or its time ends, and so does what it started: the group is asked to
// end (SIGTERM) and killed 10 seconds later. What it writes is handed on as it comes; memory is bounded whatever that is.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what is run and how.
type Options struct {
	Argv    []string // the program and its arguments; see Find
	Dir     string   // where it is run
	Env     []string // its whole environment, KEY=VALUE
	Timeout time.Duration
	Line    func(string) // is given what it writes to standard error (of Run: to standard output as well), a line at a time

	grace time.Duration // of tests; 0: the usual
}

// grace is how long a program that was asked to end is waited for before it is killed, and how long the output is waited for
// of one that has ended and left others behind that hold it.
const grace = 10 * time.Second

// Failure says how a program came to nothing. What it wrote is not in it.
type Failure struct {
	Reason string // short, stable, with the program as its subject: "ended with exit status 1"
	Err    error
}

func (f *Failure) Error() string { return f.Reason }

// Unwrap gives what the system said.
func (f *Failure) Unwrap() error { return f.Err }

// Find gives the file of a program: a name without a slash is looked for in PATH, any other is relative to dir.
func Find(name, dir string) (string, error) {
	if strings.ContainsRune(filepath.ToSlash(name), '/') && !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("no program %q: %w", name, because(err))
	}
	return path, nil
}

// because is an error without the names that the caller gives anyway.
func because(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err
}

// Run runs a program to its end. It gives a *Failure where that is not a good one, and the context's error where that ended it.
func Run(ctx context.Context, o Options) error {
	p, err := start(ctx, o, nil, nil)
	if err != nil {
		return err
	}
	return p.end(ctx)
}

// Output is what a running program writes to its standard output.
type Output struct {
	ctx  context.Context //nolint:containedctx // a stream ends with the call that opened it
	p    *process
	from *os.File
	err  error // how it ended; set once it has
}

// Start starts a program whose output is read. The caller closes it, which also ends a program that still runs.
func Start(ctx context.Context, o Options) (*Output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, &Failure{Reason: "could not be started", Err: err}
	}
	p, err := start(ctx, o, w, r)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = r.Close() // nothing was read
		return nil, err
	}
	return &Output{ctx: ctx, p: p, from: r}, nil
}

// Read gives what comes. It ends with io.EOF only where the program ended well: with a *Failure where it did not.
func (o *Output) Read(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	patient := false // this call has waited for an output that its program left to others
	for {
		n, err := o.from.Read(b)
		switch {
		case n > 0 || err == nil:
			return n, nil
		case !errors.Is(err, os.ErrDeadlineExceeded) || o.p.told.Load():
			if o.err = o.p.end(o.ctx); o.err == nil && errors.Is(err, io.EOF) {
				o.err = io.EOF
			}
			if o.err != nil {
				return 0, o.err
			}
			fallthrough
		case patient:
			o.err = &Failure{Reason: "ended and left processes behind that hold its output", Err: err}
			return 0, o.err
		}
		patient = true // who reads may have been slower than that by himself
		if err := o.from.SetReadDeadline(time.Now().Add(o.p.grace)); err != nil {
			o.err = &Failure{Reason: "could not be waited for", Err: err}
			return 0, o.err
		}
	}
}

// Close ends what still runs, unless all of the output came.
func (o *Output) Close() error {
	o.p.cancel()
	<-o.p.gone
	if !errors.Is(o.err, io.EOF) {
		signalGroup(o.p.cmd, true)
	}
	return o.from.Close()
}

// process is a program that was started.
type process struct {
	cmd     *exec.Cmd
	timeout time.Duration
	grace   time.Duration
	limit   context.Context //nolint:containedctx // its time, and the caller's
	cancel  context.CancelFunc
	told    atomic.Bool // it was told to end

	exited chan struct{} // it ended, and err and cut say how
	gone   chan struct{} // and nothing of this package looks after it any more
	err    error
	cut    bool // it had been told to
}

// start runs it with its standard output in a file that is read from another, or, where there is none, with each of its lines
// told.
func start(ctx context.Context, o Options, stdout, read *os.File) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path, err := Find(o.Argv[0], o.Dir)
	if err != nil {
		return nil, &Failure{Reason: "could not be started: " + err.Error(), Err: err}
	}
	p := &process{timeout: o.Timeout, grace: o.grace, exited: make(chan struct{}), gone: make(chan struct{})}
	if p.grace == 0 {
		p.grace = grace
	}
	lines := &lineWriter{tell: o.Line}
	p.cmd = &exec.Cmd{Path: path, Args: o.Argv, Dir: o.Dir, Env: o.Env, Stderr: lines, WaitDelay: p.grace}
	if stdout != nil {
		p.cmd.Stdout = stdout
	} else {
		p.cmd.Stdout = lines // the same writer: one goroutine writes to it
	}
	ownGroup(p.cmd)
	if err := running.start(p.cmd); err != nil {
		return nil, &Failure{Reason: "could not be started: " + because(err).Error(), Err: err}
	}
	p.limit, p.cancel = context.WithTimeout(ctx, o.Timeout)
	var both sync.WaitGroup
	both.Go(func() {
		p.err = p.cmd.Wait()
		p.cut = p.told.Load()
		lines.flush()
		if read != nil { // others may hold the other end
			wait := p.grace
			if p.cut {
				wait = 0
			}
			_ = read.SetReadDeadline(time.Now().Add(wait)) // which pipes have
		}
		close(p.exited)
	})
	both.Go(p.guard)
	go func() {
		both.Wait()
		running.remove(p.cmd)
		close(p.gone)
	}()
	return p, nil
}

// programs are those that run now: whoever is about to end at once must not leave them behind.
type programs struct {
	mu   sync.Mutex
	cmds map[*exec.Cmd]bool
}

var running programs

func (r *programs) start(cmd *exec.Cmd) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		if r.cmds == nil {
			r.cmds = map[*exec.Cmd]bool{}
		}
		r.cmds[cmd] = true
	}
	return err
}

func (r *programs) remove(cmd *exec.Cmd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cmds, cmd)
}

// KillAll kills every program that runs, with what it started, and has none begin any more. It is for a process that is about to end
// without waiting for anything.
func KillAll() {
	running.mu.Lock() // for good
	for cmd := range running.cmds {
		signalGroup(cmd, true)
	}
}

// guard ends the group when its time has come.
func (p *process) guard() {
	select {
	case <-p.exited:
		return
	case <-p.limit.Done():
	}
	select {
	case <-p.exited:
		return // it ended by itself, just now
	default:
	}
	p.told.Store(true)
	signalGroup(p.cmd, false)
	t := time.NewTimer(p.grace)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
	}
	signalGroup(p.cmd, true) // what it started may not have listened
}

// end waits for the end and says how it was.
func (p *process) end(ctx context.Context) error {
	<-p.exited
	p.cancel()
	<-p.gone
	err := p.err
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well, and left something in the background that may still write to standard error
	}
	switch e, exited := errors.AsType[*exec.ExitError](err); {
	case err == nil && !p.cut:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case p.cut:
		return &Failure{Reason: fmt.Sprintf("took longer than %s and was stopped", p.timeout), Err: err}
	case exited && e.ExitCode() >= 0:
		return &Failure{Reason: fmt.Sprintf("ended with exit status %d", e.ExitCode()), Err: err}
	case exited:
		return &Failure{Reason: "was ended by a signal (" + strings.TrimPrefix(e.String(), "signal: ") + ")", Err: err}
	}
	return &Failure{Reason: "could not be waited for", Err: err}
}
