// Package source is what a protected thing looks like to the backup engine: something that can be frozen, listed in
// order and read. Drivers are the subpackages s3, dir, ebs, ec2 and exec; sourcetest holds them to this contract, and
// docs/adding-a-driver.md says how to add one.
//
// A source is read only: nothing in these interfaces can change or delete what is protected, and a driver must not send
// a request that could.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Source is something that can be protected.
type Source interface {
	// Kind is a short word such as "s3" or "dir", written into the recovery point.
	Kind() string
	// Freeze begins one reading of the source. What the source can truly freeze (a versioned bucket by version ID) it
	// does; what it cannot (an unversioned bucket, a live directory) it detects changes in, see Open.
	Freeze(ctx context.Context) (View, error)
}

// Excluder is what a Source may implement that leaves out what patterns match.
type Excluder interface {
	// UnusedExcludes gives the patterns that matched nothing in what was listed so far: most likely a slip.
	UnusedExcludes() []string
}

// View is one reading of a source. It is safe for concurrent use, except that each Entries sequence belongs to one
// goroutine.
type View interface {
	// Entries lists what is there in order of (key bytes, oldest version first), each with its listing fields only,
	// from the first key >= from up to but not including to ("" : no end). Memory does not grow with the number of
	// entries. What the listing itself cannot read (a directory without permission) is an entry with Missing set. An
	// error ends the sequence: the listing is not whole and the point cannot be complete.
	Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error]
	// Open reads n bytes of e's content from off (n < 0: to the end) and, when off is 0, completes *e before it returns
	// with what a read reveals: headers, metadata, tags (unless they are known well enough), checksums, xattrs. It pins
	// what was listed (version ID, ETag, or ctime and inode). A whole read is checked against the source's own checksum
	// and e.Size: the stream then ends in an error instead of io.EOF, and its last bytes are withheld, so that a reader
	// who asks for exactly e.Size bytes sees it too. Errors are those below; any other is a failure of the source as a
	// whole. Only entries with content (objects and files) are opened; for the others Complete. Neither Open nor Complete
	// touches a field that the listing set.
	Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error)
	// Complete fills in what Open would, without reading content: for entries that have none (dirs, symlinks), and for
	// unchanged objects whose tags are due to be read again. Of an object with Recheck set the headers and metadata are
	// asked for too, pinned as in Open.
	Complete(ctx context.Context, e *format.Entry) error
	// Clock is the time now by the clock that Modified is kept with, as well as the source tells it.
	Clock() time.Time
	// Close releases what the view holds.
	Close() error
}

// Range is a stretch of an entry's content.
type Range struct{ Off, Len int64 }

// Sparse is what a stream of Open or OpenLive may implement: it knows where its entry has no data. What is a hole reads as
// zeros all the same.
type Sparse interface {
	// Holes gives how many bytes, from where the stream is to the listed end, lie in holes of at least that many bytes each. It
	// stops counting when they are more than enough.
	Holes(least, enough int64) (int64, error)
	// Next passes over the hole at the place where the stream is, if it has at least that many bytes, and gives its length and
	// how many bytes of data follow up to the next one. Both are 0 at the listed end.
	Next(least int64) (hole, data int64, err error)
}

// Live is what a View may implement whose entries others write to while they are read, and whose lengths a listing may not
// tell: a directory.
type Live interface {
	// OpenLive opens the whole of a file as it is now, whatever the listing said, and makes *e what it is: listing fields and
	// what a read reveals. The stream ends at the size that the file had when it was opened; earlier where it was cut
	// meanwhile, or where the listed size is not the true one; and later only in the last case. Errors are those of Open.
	OpenLive(ctx context.Context, e *format.Entry) (LiveStream, error)
	// CompleteLive is Complete for what has no content (a folder in which files come and go), as it is now.
	CompleteLive(ctx context.Context, e *format.Entry) error
}

// LiveStream is what Live opens.
type LiveStream interface {
	io.ReadCloser
	// Settle tells, once the stream has ended, how many bytes it had, whether others wrote to the file meanwhile, so that what
	// was read may be of several moments, and whether the file had another length than it was listed with, so that a listing
	// says little about it.
	Settle() (size int64, unsettled, other bool)
}

// Output is what a View may implement beside whose entries are what programs write. What is in them, and how much, shows when
// they were run; they are there whatever it is, so that one that turns out to be empty is nothing found.
type Output interface{ Output() }

// Images is what a View implements that lists disk images (format.KindImage). They are not opened but read block by block.
type Images interface {
	// Image begins to read e and completes it as Open would, with the same errors. base is the entry of an earlier point
	// that holds the same disk as it was then, nil if there is none: an image that knows what has changed since says so.
	Image(ctx context.Context, e, base *format.Entry) (Image, error)
}

// Image is one disk image that is being read.
type Image interface {
	// Blocks gives the blocks that the image holds, in ascending order; all others are zeros. It may be asked for once. Its
	// memory does not grow with the image.
	Blocks(ctx context.Context) iter.Seq2[Block, error]
	// Read reads block n into buf, which has the block's size (format.ImageBlock, at the end of the image what there is),
	// checks it against the source's own checksum and gives its SHA-256. A *BadBlock says that only this block cannot be
	// read. It is safe for concurrent use.
	Read(ctx context.Context, n int64, buf []byte) (format.Hash, error)
	// Since tells whether Same means anything, and if it does not although there was a base, why.
	Since() (known bool, why string)
	Close() error
}

// Block is one block that an image holds.
type Block struct {
	N    int64
	Same bool // as in the base
}

// Remarks is what a View may implement beside: what of its entries a restore cannot give back, however well they are kept,
// and a selection that looks like a mistake.
type Remarks interface {
	Remarks() []Remark
}

// Notes is what a View may implement beside: what was left out of entries that are in the point, found on the way. It is
// asked once, when everything was read.
type Notes interface {
	Notes() []Remark
}

// Habit is a way in which a source's server differs from what most do, and that was met while it was read.
type Habit struct {
	Name    string // short, stable: if-match
	Setting string // the line of the configuration that says so; empty where nothing has to be set
	Text    string // what it is and what comes of it, a sentence for people
}

// Habits is what a View may implement beside: the habits of its server that were met so far.
type Habits interface {
	Habits() []Habit
}

// Trier is what a View may implement beside: looking for all habits of its server by reading a little.
type Trier interface {
	Try(ctx context.Context) error
}

// Surroundings is what a View may implement that lists entries whatever is selected, such as networks beside machines: a
// source in which nothing else is found is taken for empty.
type Surroundings interface {
	Surrounds(key string) bool
}

// Reading is how much a run reads of a source beside listing it.
type Reading struct {
	Reads  int64 // entries whose content is read
	Heads  int64 // entries of which only what goes with the content is asked for: headers, and tags where there are any
	Tagged int64 // of both, as far as is known, those that have tags
	Looks  int64 // entries of which only tags are asked for
	Blocks int64 // of disk images
}

// Billed is what a View may implement whose source bills requests: how many that takes, if nothing has to be asked for twice.
type Billed interface {
	Requests(r Reading) int64
}

// Lasting is what a View may implement beside: settings that decide whether what is there stays.
type Lasting interface {
	// Settings asks for them, with few requests. An error is that they cannot be known; a right that is missing is none.
	Settings(ctx context.Context) (Settings, error)
}

// Settings are those of a bucket.
type Settings struct {
	Keys       map[string]int64 // of the vendor's key management, with how many entries were read that are encrypted with each: some, where they are very many
	Versioning string           // Enabled, Suspended, or empty
	Expires    []string         // rules that will delete all that is protected, each as a sentence for people, sorted
	Denied     []string         // rights that are missing to know more
}

// Fleets is what a View may implement beside whose account others can start machines in.
type Fleets interface {
	// Fleet asks what runs in all regions of the account, with few requests a region, side by side, each of them bounded. What cannot be
	// looked at is named in it; an error is that the regions are not known.
	Fleet(ctx context.Context) (Fleet, error)
}

// Fleet is what runs in an account.
type Fleet struct {
	Regions []FleetRegion // in order
	Whole   bool          // every region that is open to the account is among them
	Denied  []string      // rights that are missing to know more
}

// FleetRegion is what runs in one region.
type FleetRegion struct {
	Name     string
	Machines []Machine
	More     bool     // there are more than these
	Keys     []string // IDs of key pairs, with their names
	Unkeyed  bool     // key pairs could not be listed
	Failed   string   // why its machines could not be listed; empty: they were

	Types  []string       // of the region that is protected: types of machines that templates and groups name
	Limits map[string]int // and how many machines each group may have
}

// Machine is one that runs.
type Machine struct {
	ID, Type string
	Group    string   // that launched it, as only the vendor can have written it; empty: none
	Tags     []string // KEY=VALUE
}

// Passing is what a View may implement with entries that come and go by themselves, such as the machines of a scaling group.
type Passing interface {
	Passes(key string) bool
}

// Remark says something of the entry of a key, or of the source by its URL, in one sentence for people.
type Remark struct{ Key, Text string }

// ErrOrder: the source was found not to list in order when part of the list was used already. It knows that now: begin
// again, and the list comes in order.
var ErrOrder = errors.New("not listed in the order of its keys")

// Errors of Open, Complete and of the streams Open gives. They concern one entry; the engine goes on with the others.
var (
	// ErrChanged: the entry is no longer what was listed (412, another ctime). List that key again and try again.
	ErrChanged = errors.New("changed while it was read")
	// ErrGone: it was deleted after it was listed. List that key again: if it is not there, it is not in the point.
	ErrGone = errors.New("deleted while it was read")
	// ErrLength: it is unchanged and not as long as it was listed, as are files that the kernel makes up while they are read. A
	// View that gives it implements Live.
	ErrLength = errors.New("not as long as it is listed")
	// ErrCorrupt: the source's own checksum or size does not match the bytes it delivered, repeatedly.
	ErrCorrupt = errors.New("source delivered bytes that do not match its own checksum")
)

// BadBlock is a block of an image that cannot be read, whatever was tried; the rest of the image may well be. Err is what it
// would mean for the whole image, if that is given up.
type BadBlock struct {
	N   int64
	Err error
}

func (b *BadBlock) Error() string { return b.Err.Error() }

// Unwrap gives what it would mean for the whole image.
func (b *BadBlock) Unwrap() error { return b.Err }

// Unreadable is an entry that is there and cannot be read now: access denied, archived, encrypted with a customer's key,
// an I/O error of the disk. It is recorded in the point, which becomes incomplete.
type Unreadable struct {
	Key      string
	Reason   string // short, stable, for people and scripts: "access denied", "archived (GLACIER)"
	Accepted bool   // recorded without making the point incomplete (archived: record)
	Err      error
}

func (u *Unreadable) Error() string {
	if u.Err == nil {
		return fmt.Sprintf("cannot read %q: %s", u.Key, u.Reason)
	}
	return fmt.Sprintf("cannot read %q: %s: %v", u.Key, u.Reason, u.Err)
}

func (u *Unreadable) Unwrap() error { return u.Err }
