package main

import (
	"context"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// reader ARGS... runs the second implementation of a reader, which knows docs/format.md and nothing of this program.
func reader(ts *testscript.TestScript, neg bool, args []string) {
	python, err := programs.Find("python3")
	ts.Check(err)
	ts.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	withAge(ts, neg, python, append([]string{filepath.Join(ts.Getenv("DOCS"), "reader/holdfast_reader.py")}, args...))
}

// byhand ARGS... runs docs/restore-by-hand.sh.
func byHand(ts *testscript.TestScript, neg bool, args []string) {
	withAge(ts, neg, "sh", append([]string{filepath.Join(ts.Getenv("DOCS"), "restore-by-hand.sh")}, args...))
}

// proof PAGE runs a page of `holdfast prove`, with the real programs.
func proof(ts *testscript.TestScript, neg bool, args []string) {
	withAge(ts, neg, "sh", args)
}

// withAge runs a program that calls age.
func withAge(ts *testscript.TestScript, neg bool, program string, args []string) {
	age, err := servers.Binary(context.Background(), "age")
	ts.Check(err)
	ts.Setenv("AGE", age)
	if err := ts.Exec(program, args...); (err != nil) != neg {
		ts.Fatalf("%s: %v", args[0], err)
	}
}
