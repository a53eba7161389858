// Command holdfast-demo plays the attack that Holdfast is built for, on this machine and for real: S3 servers as separate
// processes, the real holdfast binary, an attacker with every key of the primary account and the stolen writer key of
// the vault, and a restore from the restore key alone that is compared to the last byte and header.
//
// It is a module of its own, because an S3 server is linked into it, and nothing of that may get into the program that
// users run. It must never touch anything outside its own temporary folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const help = `Usage: go -C cmd/holdfast-demo run . [flags]

Starts two S3 servers on this machine and an account with a machine in it (an in-test
server of EC2), fills one, backs it up into the other with the real holdfast program,
destroys everything an attacker could reach, restores into a third server and an empty
account, and compares. Exits 1 if one byte or one header differs.

`

// options are the flags.
type options struct {
	files   int
	program string
	corrupt bool
	keep    bool
	verbose bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == serveArgument {
		if err := serve(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// command is main with its surroundings as arguments. It gives the exit code.
func command(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("holdfast-demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, help)
		flags.PrintDefaults()
	}
	flags.IntVar(&o.files, "files", 2000, "how many of Go's own source files are taken for `N` objects")
	flags.StringVar(&o.program, "holdfast", "", "use the holdfast at `PATH` instead of building the one of this tree")
	flags.BoolVar(&o.corrupt, "corrupt", false, "flip one bit of one restored object, and one of a disk, before comparing, to see that the comparison fails")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder with all data")
	flags.BoolVar(&o.verbose, "v", false, "show the configuration and every line that holdfast prints")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 || o.files < 100 {
		fmt.Fprintln(stderr, "holdfast-demo: no arguments are taken, and -files must be at least 100")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C ends at once
	err := play(ctx, o, stdout)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "holdfast-demo: stopped")
		return 130
	}
	fmt.Fprintf(stderr, "holdfast-demo: %v\n", err)
	return 1
}
