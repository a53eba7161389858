package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// ui is the one place that prints. What goes where:
//
//   - Standard output carries results and nothing else: the lines of a list, the key of keygen, a tar stream. With --json
//     every line is one JSON object. Where it carries a tar stream the summary goes to standard error.
//   - Names and messages that others may have chosen are printed so that they cannot steer a terminal.
//   - Standard error carries everything else: remarks, warnings, progress, errors. With --json there are no remarks and no
//     progress; a warning is {"warning": ".."}, what a question is about {"shown": ".."}, an error {"error": "..", "code": "..", "next": [".."]}, a line each.
//   - --quiet drops remarks and progress, and of run the lines of complete points; never warnings and errors. --verbose adds
//     details.
//   - Progress is drawn only where standard error is a terminal, and is wiped before anything else is printed there.
//   - Nothing is ever asked: every command runs unattended.
type ui struct {
	out io.Writer // results
	err io.Writer // the rest

	json, quiet, verbose, noProgress bool

	terminal bool // standard error is one
	sticky   *stickyWriter

	hide []string // what must not stand in anything that is said, whoever said it
	said []byte   // the end of what was written to standard error, for who is told of it elsewhere

	mu     sync.Mutex
	bar    *bar // what is being drawn, if anything
	silent bool // no remarks; until settle is called there may be some
}

func newUI(stdout, stderr *os.File) *ui {
	s := &stickyWriter{to: stdout}
	return &ui{out: s, sticky: s, err: stderr, terminal: term.IsTerminal(int(stderr.Fd()))}
}

// settle is called when the flags are known; before that, a signal's remark may already be on its way.
func (u *ui) settle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.silent = u.quiet || u.json
}

// object prints one result as a line of JSON.
func (u *ui) object(v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wipe()
	_, err = u.out.Write(b)
	return err
}

// marshal gives one line of JSON. URLs stay readable: nothing here is put into a web page.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing a result: %w", err)
	}
	line, err := addTwins(b.Bytes(), v)
	if err != nil {
		return nil, fmt.Errorf("writing a result: %w", err)
	}
	return line, nil
}

// text prints one result for people.
func (u *ui) text(line string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wipe()
	_, err := io.WriteString(u.out, line+"\n")
	return err
}

// summary prints a command's last result: on standard error where standard output carried a stream.
func (u *ui) summary(object any, text string, stream bool) error {
	switch {
	case stream && u.json:
		u.jsonLine(object)
	case stream:
		u.remark("%s", text)
	case u.json:
		return u.object(object)
	default:
		return u.text(text)
	}
	return nil
}

// remark tells a person what is going on.
func (u *ui) remark(format string, args ...any) {
	u.mu.Lock()
	silent := u.silent
	u.mu.Unlock()
	if !silent {
		u.line(fmt.Sprintf(format, args...))
	}
}

// detail is a remark for those who asked for more.
func (u *ui) detail(format string, args ...any) {
	if u.verbose {
		u.remark(format, args...)
	}
}

// warn tells what is wrong and does not stop the command.
func (u *ui) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if u.json {
		u.jsonLine(map[string]string{"warning": text})
		return
	}
	u.line("holdfast: warning: " + text)
}

// show tells what a person is about to be asked about.
func (u *ui) show(line string) {
	if u.json {
		u.jsonLine(map[string]string{"shown": line})
		return
	}
	u.line(line)
}

// fail tells why the command did not succeed, and what to do about it.
func (u *ui) fail(err error, code string, next []string) {
	if u.json {
		u.jsonLine(struct {
			Error string   `json:"error"`
			Code  string   `json:"code"`
			Next  []string `json:"next,omitempty"`
		}{err.Error(), code, next})
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line != "" {
			u.line("holdfast: " + line)
		}
	}
	for _, n := range next {
		u.line("holdfast: what to do: " + n + ".")
	}
	if code == "usage" {
		u.line("Run holdfast --help, or holdfast COMMAND --help, for what there is.")
	}
}

func (u *ui) jsonLine(v any) {
	b, err := marshal(v)
	if err != nil {
		b = []byte(`{"error":"a message could not be written as JSON","code":"failed"}`)
	}
	u.line(strings.TrimSuffix(string(b), "\n"))
}

// line writes to standard error. If that fails there is nowhere left to say so; the exit code still tells.
func (u *ui) line(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wipe()
	text := printable(hidden(s, u.hide)) + "\n"
	_, _ = io.WriteString(u.err, text)
	if u.said = append(u.said, text...); len(u.said) > 2*maxSaid {
		u.said = append([]byte{}, u.said[len(u.said)-maxSaid:]...)
	}
}

// maxSaid is how much is kept of what was written to standard error, in bytes.
const maxSaid = 16 << 10

// end gives the end of what was written to standard error.
func (u *ui) end() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return string(u.said)
}

// alsoHide takes what must not be said either. What is very short is a word that means something else.
func (u *ui) alsoHide(secrets ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range secrets {
		if len(s) >= leastHidden {
			u.hide = append(u.hide, s)
		}
	}
}

// hidden takes out of a text what must not be said.
func (u *ui) hidden(s string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return hidden(s, u.hide)
}

// outErr is what went wrong writing results. A full disk behind a pipe must not look like success.
func (u *ui) outErr() error {
	if u.sticky == nil {
		return nil
	}
	u.sticky.mu.Lock()
	defer u.sticky.mu.Unlock()
	if u.sticky.err == nil {
		return nil
	}
	return fmt.Errorf("writing to standard output: %w", u.sticky.err)
}

// stickyWriter remembers the first failure, so that callers may print without checking each line.
type stickyWriter struct {
	to  io.Writer
	mu  sync.Mutex
	err error
}

func (s *stickyWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.to.Write(p)
	s.err = err
	return n, err
}
