// Command tally reads what `go test -json` wrote and counts tests. A test that ran several times (plain, with the race detector)
// counts once: failed if it failed in any run, passed if it passed in any, else skipped. A package that failed without a
// failed test (it did not build, or it hung) counts as one failure. Its last line is "N passed, N failed, N skipped".
//
//	tally -show [-quiet] FILE               one run: failures with their output, and a line a package if not quiet
//	tally -skips .ci/skips [-more N] FILE.. the count; a skip that the list does not allow is a failure; with -without
//	                                        those are allowed that say which program is missing
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// event is a line of `go test -json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// key is a test, or with Test empty a package.
type key struct{ Package, Test string }

type results struct {
	state  map[key]string   // pass, fail or skip
	output map[key][]string // of tests, until they passed
	builds map[string][]string
	wants  map[key]bool // skipped for want of a program
	order  []key        // packages as they ended
	time   map[key]float64
}

func main() {
	show := flag.Bool("show", false, "print the failures and packages of one run")
	more := flag.Int("more", 0, "failures that are not tests, to be counted as failed")
	quiet := flag.Bool("quiet", false, "with -show: failures only")
	without := flag.Bool("without", false, "allow skips for want of a program")
	skips := flag.String("skips", "", "file of the skips that are allowed")
	flag.Parse()
	all, wants := map[key]string{}, map[key]bool{}
	for _, name := range flag.Args() {
		r, err := read(name)
		if err != nil {
			fmt.Println("tally:", err)
			os.Exit(1)
		}
		if *show {
			r.show(*quiet)
		}
		if *without {
			maps.Copy(wants, r.wants)
		}
		merge(all, r)
	}
	if *show {
		return
	}
	allowed, err := readSkips(*skips)
	if err != nil {
		fmt.Println("tally:", err)
		os.Exit(1)
	}
	maps.Copy(allowed, wants)
	if !count(all, allowed, *more) {
		os.Exit(1)
	}
}

func read(name string) (*results, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &results{state: map[key]string{}, output: map[key][]string{}, builds: map[string][]string{}, wants: map[key]bool{}, time: map[key]float64{}}
	for lines := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			continue // what a test wrote past the testing package
		}
		r.add(e)
	}
}

func (r *results) add(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "output":
		r.output[k] = append(r.output[k], e.Output)
	case "pass", "fail", "skip":
		r.state[k], r.time[k] = e.Action, e.Elapsed
		switch e.Action {
		case "pass":
			delete(r.output, k)
		case "skip":
			r.wants[k] = strings.Contains(strings.Join(r.output[k], ""), "missing program")
		}
		if e.Test == "" {
			r.order = append(r.order, k)
			if e.FailedBuild != "" {
				r.output[k] = append(r.builds[e.FailedBuild], r.output[k]...)
			}
		}
	}
}

func (r *results) show(quiet bool) {
	failures := slices.SortedFunc(maps.Keys(r.state), func(a, b key) int {
		return strings.Compare(a.Package+" "+a.Test, b.Package+" "+b.Test)
	})
	for _, k := range failures {
		if r.state[k] == "fail" {
			fmt.Printf("--- FAIL %s %s\n%s", k.Package, k.Test, strings.Join(r.output[k], ""))
		}
	}
	for _, k := range r.order {
		if r.state[k] != "skip" && !quiet { // of a package: it has no tests
			fmt.Printf("%-4s %-80s %7.1f s\n", r.state[k], k.Package, r.time[k])
		}
	}
}

func merge(all map[key]string, r *results) {
	rank := map[string]int{"": 0, "skip": 1, "pass": 2, "fail": 3}
	failedTest := map[string]bool{}
	for k, s := range r.state {
		if k.Test == "" {
			continue
		}
		failedTest[k.Package] = failedTest[k.Package] || s == "fail"
		if rank[s] > rank[all[k]] {
			all[k] = s
		}
	}
	for k, s := range r.state {
		if k.Test == "" && s == "fail" && !failedTest[k.Package] {
			all[key{k.Package, "(package)"}] = "fail"
		}
	}
}

func readSkips(name string) (map[key]bool, error) {
	allowed := map[key]bool{}
	if name == "" {
		return allowed, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		what, reason, _ := strings.Cut(strings.TrimSpace(line), "#")
		words := strings.Fields(what)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: a package, a test, # and a reason are wanted", name, n)
		}
		allowed[key{words[0], words[1]}] = true
	}
	return allowed, nil
}

// count prints the sums and reports whether all is well.
func count(all map[key]string, allowed map[key]bool, failed int) bool {
	var passed, skipped int
	for k, s := range all {
		switch s {
		case "pass":
			passed++
		case "fail":
			failed++
		case "skip":
			top, _, _ := strings.Cut(k.Test, "/")
			if allowed[k] || allowed[key{k.Package, top}] {
				skipped++
				continue
			}
			fmt.Printf("FAILED: %s %s was skipped, and .ci/skips does not allow that\n", k.Package, k.Test)
			failed++
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed == 0
}
