package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// reader ARGS... runs the second implementation of a reader, which knows docs/format.md and nothing of this program.
func reader(ts *testscript.TestScript, neg bool, args []string) {
	python, err := programs.Find("python3")
	ts.Check(err)
	age, err := servers.Binary(context.Background(), "age")
	ts.Check(err)
	here, err := os.Getwd()
	ts.Check(err)
	ts.Setenv("AGE", age)
	ts.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	err = ts.Exec(python, append([]string{filepath.Join(here, "../../docs/reader/holdfast_reader.py")}, args...)...)
	if (err != nil) != neg {
		ts.Fatalf("the reader: %v", err)
	}
}
