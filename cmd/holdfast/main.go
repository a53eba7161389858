// Command holdfast keeps a copy of buckets and directories under object lock at a second vendor.
//
// This package is the face only: one file a command, the list of drivers (backends.go), the mapping to exit codes
// (exit.go) and the rules of what is printed where (ui.go). It must hold no logic of backup or restore: what another
// program could want to do lies in package replicator and below.
package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
)

func main() {
	os.Exit(realMain(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, config.System))
}

// realMain runs one command line and gives its exit code. system is where this machine's configuration lies.
func realMain(args []string, stdin io.Reader, stdout, stderr *os.File, system string) int {
	a := (&app{ui: newUI(stdout, stderr), stdin: stdin, env: os.LookupEnv, now: time.Now, system: system}).share()
	if err := forbidCoreDumps(); err != nil {
		a.ui.warn("cannot switch off core dumps, which could hold keys: %v", err)
	}
	ctx, stop := withSignals(context.Background(), a.ui)
	defer stop()
	return a.run(ctx, args)
}

// app is what every command has at hand. It is made once, in main; nothing is global.
type app struct {
	keys     *keyCommands
	reads    *readCommands
	plans    *planCommands
	care     *careCommands
	complete *completion
	trusts   *trusting
	notices  *notices
	traces   *traces

	ui    *ui
	stdin io.Reader
	env   credentials.Env

	standIns standIns // for flags that were not given

	now func() time.Time

	system     string // the folder of this machine's configuration
	configFile string // --config
	readFrom   string // where configRead was found
	configRead *config.Config
	stdinRead  bool // standard input was read for a key
	started    bool // a command's own code has begun: what fails from here on is not bad usage
}
