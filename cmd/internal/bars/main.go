// Command bars measures what Holdfast promises with real servers and real programs: the built holdfast binary, versitygw
// and MinIO as processes of their own, the Go installation's tree as data. Each part prints its figures and says of each
// bar whether it held; the exit code is 0 only if all did. It is a test program and must never be part of a release.
//
//	go run ./cmd/internal/bars PART...    parts: see below; without one they are listed
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
		{"faults", "every request of a run, a verification and a restore made to fail in turn in each of the ways", everyFault},
		{"realtree", "the Go tree: versitygw bucket to MinIO vault, three points, every restore compared", realTree},
		{"swapped", "the same from a MinIO bucket to a versitygw vault", swappedTree},
		{"dirtree", "the same from a directory to a MinIO vault", dirTree},
		{"vaults", "two vaults: one down at the start, in the middle, at the commit; one wiped; one added; a pack lost", vaults},
		{"hostile", "one of two vaults is hostile in seven ways: when the other one has its commit, beside a healthy twin", hostile},
		{"kills", "kill -9 at 50 random moments of runs, 20 of restores, and at each request; two runs at once", killsInFull},
		{"kills10", "of that, ten kills (for every run of .ci/run)", killsInSmall},
		{"killpoints", "of kills, each request", killsAtRequests},
		{"killbig", "of kills, a run of 2.5 GiB killed late, its cache lost", killsLate},
		{"memory", "1 GiB of incompressible data in 8 objects, peak memory", memory},
		{"huge", "a single object of 6 GiB, peak memory", huge},
		{"keys", "keys that few servers keep, from five kinds of source to bucket, directory and tar", awkward},
		{"million", "1,000,000 objects made up by a formula: unchanged runs, edits, tags, one that cannot be read once", million},
		{"trees", "the same with a deep tree, a skewed one, and versions", trees},
		{"versions", "20,000 versions of one key, delete markers among them, to both servers in order, killed half-way and run again", versions},
		{"versions2500", "of that, 2,500 (for every run of .ci/run)", versionsInSmall},
		{"images", "a disk of 3 GiB with a real file system: EBS snapshot to vault and back in three ways, incremental runs, a server that throttles", images},
		{"hugedisk", "a simulated disk of 16 TiB, full, of which 1 GiB has changed: what is read and stored, peak memory", hugeDiskImage},
		{"renewal", "two years of daily runs in minutes: locks, calls that lengthen them, and what is stored beside what is needed", renewal},
		{"points", "1, 4,000 and 10,000 points in one vault: what a run asks and takes, with and without its cache, and what the list of points does", manyPoints},
		{"points200", "of that, 1 and 200", manyPointsInSmall},
		{"metadata", "20,000 files: what a point stores beside content", metadata},
		{"attacks", "the attack suite in full on versitygw and MinIO; the listing of points among 10,000 and a million junk names", attacks},
		{"doctor", "misconfigurations planted one by one on real servers, and set-ups with nothing to mend", doctor},
		{"nbd", "an ext4 image as a network block device: nbdcopy, qemu-img, e2fsck and debugfs agree with the original", device},
		{"speed", "against rclone copy into a crypt remote: CPU and wall of the client", speed},
		{"speedtree", "of that, the Go tree", speedTree},
		{"speedlarge", "of that, 1 GiB of incompressible data in 8 objects", speedLarge},
	}
}

func main() {
	log.SetOutput(io.Discard) // net/http grumbles there about servers that close idle connections with an answer
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := measure
	if os.Getenv(listingOf) != "" {
		do = onlyList
	}
	if err := do(ctx, os.Args[1:]); err != nil {
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
