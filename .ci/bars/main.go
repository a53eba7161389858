// Command bars measures what Holdfast promises with real servers and real programs: the built holdfast binary, versitygw
// and MinIO as processes of their own, the Go installation's tree as data. Each part prints its figures and says of each
// bar whether it held; the exit code is 0 only if all did. It is a test program and must never be part of a release.
//
//	go run ./.ci/bars PART...    parts: see below; without one they are listed
//
// BARS_TMP is the folder for data (default: a new one under the system's; it takes up to 15 GB for the largest part).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// part is one measurement.
type part struct {
	name, what string
	run        func(ctx context.Context, w *world) error
}

func parts() []part {
	return []part{
		{"small", "60 objects and 3 packs: three points, every restore compared (for every run of .ci/run)", small},
		{"byhand", "age, zstd and docs/restore-by-hand.sh open what Holdfast stored", byHand},
		{"realtree", "the Go tree: versitygw bucket to MinIO vault, three points, every restore compared", realTree},
		{"swapped", "the same from a MinIO bucket to a versitygw vault", swappedTree},
		{"dirtree", "the same from a directory to a MinIO vault", dirTree},
		{"memory", "1 GiB of incompressible data in 8 objects, peak memory", memory},
		{"huge", "a single object of 6 GiB, peak memory", huge},
		{"speed", "against rclone copy into a crypt remote: CPU and wall of the client", speed},
		{"speedtree", "of that, the Go tree", speedTree},
		{"speedlarge", "of that, 1 GiB of incompressible data in 8 objects", speedLarge},
	}
}

func main() {
	log.SetOutput(io.Discard) // net/http grumbles there about servers that close idle connections with an answer
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bars:", err)
		stop()
		os.Exit(1)
	}
}

func measure(ctx context.Context, names []string) (err error) {
	if len(names) == 0 {
		for _, p := range parts() {
			fmt.Printf("%-11s %s\n", p.name, p.what)
		}
		return nil
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, name := range names {
		i := slices.IndexFunc(parts(), func(p part) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("no part %q", name)
		}
		p := parts()[i]
		fmt.Printf("## %s: %s\n", p.name, p.what)
		if err := p.run(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if w.missed > 0 {
		return fmt.Errorf("%d bars missed", w.missed)
	}
	return nil
}
