package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// Names in the story.
const (
	liveBucket  = "acme-uploads"
	vaultBucket = "acme-vault"
	vaultPrefix = "prod/"
	sourceName  = "uploads"
)

// demo is the whole play. Every act is a method that leaves here what later acts need.
type demo struct {
	options
	story story
	dir   string
	bin   string

	primary, offsite *server
	reader           account // reads the live bucket
	writer           account // writes into the vault
	restorer         account // reads the vault

	aws      string // the program that plays the cloud
	disks    []disk // the web server's, as they were
	machines *cloud

	live   []sourceFile // what the live bucket was filled with
	job    *machine
	points [2]point // as the two runs made them

	vault    vaultState // before the attack
	list     []version
	lost     int // versions deleted on the primary
	outcomes []outcome
	after    int // versions in the vault after the attack
	harmed   []string

	restored [2]restored

	imageTook    time.Duration // of the AMI's restore
	imageDiffers []string
}

// point is one run, and what the live bucket held at that moment.
type point struct {
	id     string
	bucket contents
}

// restored is what became of a point.
type restored struct {
	where       string
	took        time.Duration
	differences []string
}

// errDiffers is the demo's one bad ending.
var errDiffers = errors.New("what was restored is not what was lost")

// play runs the story and cleans up behind it.
func play(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return err
	}
	// Commands show paths; a link in the middle would make them differ from what the programs say.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	d := &demo{options: o, story: story{out: out, began: time.Now()}, dir: dir}
	d.reader, d.writer, d.restorer = newAccount("uploads-reader"), newAccount("vault-writer"), newAccount("vault-reader")
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	fmt.Fprintln(out, "Holdfast demo: an account is taken over and everything in it is deleted, as happened to a real")
	fmt.Fprintln(out, "company in June 2014. Real S3 servers, the real program; nothing leaves this machine.")
	for _, act := range []func(context.Context) error{d.setTheStage, d.backUp, d.attackPrimary, d.attackVault, d.restore} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return d.sumUp()
}

func (d *demo) cleanUp() error {
	for _, s := range []*server{d.primary, d.offsite} {
		if s != nil {
			s.stop()
		}
	}
	_ = d.machines.stop() // of what it writes nobody wants anything any more
	if d.keep {
		d.story.say("\nEverything is in %s (-keep).", d.dir)
		return nil
	}
	return os.RemoveAll(d.dir)
}

// setTheStage starts the servers, fills the live bucket and builds the program, all at once.
func (d *demo) setTheStage(ctx context.Context) (err error) {
	d.story.act("A company and two vendors that know nothing of each other")
	var files []sourceFile
	began := time.Now()
	whole := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		d.bin, err = buildHoldfast(ctx, d.dir, d.program)
		return err
	})
	g.Go(func() (err error) {
		d.offsite, err = d.startOffsite(ctx)
		return err
	})
	g.Go(func() (err error) {
		if files, err = goFiles(ctx, d.files); err != nil {
			return err
		}
		if d.primary, err = startServer(ctx, "primary", filepath.Join(d.dir, "primary"), d.reader); err != nil {
			return err
		}
		admin := d.primary.client(d.primary.root)
		if err := fill(ctx, admin, liveBucket, files); err != nil {
			return err
		}
		return grant(ctx, admin, liveBucket, map[string]rights{d.reader.ID: sourceReader()})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := d.setUpMachines(whole, files); err != nil {
		return err
	}
	d.story.say("primary   %s  bucket %s, versioning on", d.primary.url, liveBucket)
	d.story.say("off-site  %s  bucket %s, object lock on", d.offsite.url, vaultBucket)
	d.story.say("Two processes, with separate administrators. Three more keys, and not one of them can delete:")
	d.story.say("uploads-reader (reads the live bucket), vault-writer (puts and locks), vault-reader (reads the vault).")
	d.story.say("The live bucket got %s: files of the Go installation, with headers, metadata and tags. (%s)",
		plural(len(files)+len(oddObjects()), "object"), seconds(time.Since(began)))
	d.story.say("cloud     %s  a web server's AMI with snapshots of its two disks, 1 GiB each (Holdfast's in-test EC2)", d.machines.URL)
	d.live = files
	d.job, err = d.newMachine("job")
	return err
}

func (d *demo) startOffsite(ctx context.Context) (*server, error) {
	s, err := startServer(ctx, "off-site", filepath.Join(d.dir, "off-site"), d.writer, d.restorer)
	if err != nil {
		return nil, err
	}
	if err := makeVault(ctx, s.client(s.root), map[string]rights{d.writer.ID: vaultWriter(), d.restorer.ID: vaultReader()}); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func makeVault(ctx context.Context, admin *s3.Client, who map[string]rights) error {
	bucket, lock := vaultBucket, true
	_, err := admin.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &bucket, ObjectLockEnabledForBucket: &lock, ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced,
	})
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	return grant(ctx, admin, bucket, who)
}

// liveURL and vaultURL are how Holdfast is told where things are.
func (d *demo) liveURL() string { return "s3://" + liveBucket + "?endpoint=" + d.primary.url }

func (d *demo) vaultURL() string {
	return "s3://" + vaultBucket + "/" + vaultPrefix[:len(vaultPrefix)-1] + "?endpoint=" + d.offsite.url
}
