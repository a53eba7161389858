package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// tested is what one run of a package's tests came to.
type tested struct {
	state   map[string]string // of each test by its full name: pass, fail or skip
	figures map[string]map[string]float64
}

// runTests runs tests of a package as `go test` does, with everything they do measured anew. A test that failed is printed and
// counted, and no error; a package that cannot be built or ended without a word is one.
func runTests(ctx context.Context, pkg, run string, args ...string) (*tested, error) {
	argv := []string{"test", "-json", "-count=1", "-timeout", "60m", "-run", run, pkg}
	if len(args) > 0 {
		argv = append(append(argv, "-args"), args...)
	}
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &tested{state: map[string]string{}, figures: map[string]map[string]float64{}}
	said, rerr := t.read(bufio.NewScanner(out))
	err = cmd.Wait()
	if cerr := ctx.Err(); cerr != nil {
		return nil, cerr
	}
	failed := 0
	for _, s := range t.state {
		if s == "fail" {
			failed++
		}
	}
	if rerr != nil || err != nil && failed == 0 {
		return nil, errors.Join(fmt.Errorf("go %s: %w\n%s", strings.Join(argv, " "), err, tail([]byte(said))), rerr)
	}
	if len(t.state) == 0 {
		return nil, fmt.Errorf("%s has no test that matches %s", pkg, run)
	}
	return t, nil
}

// read takes the events of `go test -json`, and prints what a test that failed had said.
func (t *tested) read(in *bufio.Scanner) (said string, err error) {
	in.Buffer(nil, 1<<20)
	lines := map[string][]string{}
	for in.Scan() {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			said += in.Text() + "\n" // of a package that cannot be built
			continue
		}
		switch e.Action {
		case "output":
			if e.Test == "" {
				said += e.Output
				continue
			}
			lines[e.Test] = append(lines[e.Test], e.Output)
			t.figure(e.Test, e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				continue
			}
			t.state[e.Test] = e.Action
			if e.Action == "fail" {
				fmt.Print("  FAILED ", e.Test, "\n", strings.Join(lines[e.Test], ""))
			}
			delete(lines, e.Test)
		}
	}
	return said, in.Err()
}

// figure takes down a line such as "figure: points=6 entries=120" that a test logged.
func (t *tested) figure(test, line string) {
	_, rest, ok := strings.Cut(line, "figure: ")
	if !ok {
		return
	}
	if t.figures[test] == nil {
		t.figures[test] = map[string]float64{}
	}
	for _, word := range strings.Fields(rest) {
		name, value, _ := strings.Cut(word, "=")
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			t.figures[test][name] = f
		}
	}
}

// leaves gives the tests below a name that have no tests below them, and how many of them passed.
func (t *tested) leaves(under string) (all []string, passed int) {
	inner := map[string]bool{}
	for name := range t.state {
		for i := range len(name) {
			if name[i] == '/' {
				inner[name[:i]] = true
			}
		}
	}
	for name, s := range t.state {
		if inner[name] || name != under && !strings.HasPrefix(name, under+"/") {
			continue
		}
		all = append(all, name)
		if s == "pass" {
			passed++
		}
	}
	slices.Sort(all)
	return all, passed
}

// passed reports whether a test was run and passed, with all below it.
func (t *tested) passed(name string) bool { return t.state[name] == "pass" }
