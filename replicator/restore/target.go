package restore

import (
	"context"
	"errors"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Overwrite says what becomes of what is at the target already.
type Overwrite string

const (
	// Never leaves everything that is there as it is, and names what visibly differs (ErrDiffers): what can be seen without
	// reading content. The zero value means the same.
	Never Overwrite = "never"
	// Changed leaves what is just as in the point, content and everything else that is restored, and puts the rest right.
	Changed Overwrite = "changed"
	// Always restores everything again.
	Always Overwrite = "always"
)

// Errors that targets and reports of failures use.
var (
	// ErrRefused: the target cannot hold this key as it is, so nothing was written for it. The text says why and what to do.
	ErrRefused = errors.New("refused")
	// ErrStop wraps an error after which nothing more can be restored to this target: the disk is full, the bucket is
	// gone, the reader of the stream has left. Run ends with it.
	ErrStop = errors.New("the restore cannot go on")
	// ErrNotInPoint: the content was not readable when the recovery point was made, so the point does not have it.
	ErrNotInPoint = errors.New("not in the recovery point")
	// ErrPartly: some of a disk image was not readable when the recovery point was made. The rest was restored.
	ErrPartly = errors.New("only in part in the recovery point")
	// ErrContent: the bytes in the vault do not add up to what the manifest says of the entry.
	ErrContent = errors.New("content does not match the manifest")
	// ErrDiffers: something else is at the target and stays there, as Never wants. The text names what differs, as far as
	// that was seen. It counts in Result.Skipped and Result.Differs, and is listed among the failures.
	ErrDiffers = errors.New("there already, and differs from the recovery point")
	// ErrNotKept: the target answered that all is well, and shows something else than what was put. The entry is there, and not
	// as it is in the point.
	ErrNotKept = errors.New("the target answered that it has it, and shows something else")
	// ErrThere: a receiver that was handed an entry found that the target has it already, just as it is in the point. It
	// counts in Result.Skipped.
	ErrThere = errors.New("there already")
)

// Verdict is what a target says of an entry before any of its content is fetched.
type Verdict int

const (
	// Take: hand it over with its content.
	Take Verdict = iota
	// TakeEmpty: hand it over; its content is not needed.
	TakeEmpty
	// Done: nothing is left to do, it counts as restored.
	Done
	// Skip: it is there already and stays.
	Skip
	// Ignore: not a thing that this target holds.
	Ignore
	// Look: the receiver is a Looker; ask it about every version before any content is fetched.
	Look
)

// Job is what a target is told before the first entry.
type Job struct {
	Commit      *format.Commit
	Overwrite   Overwrite
	DryRun      bool  // decide, and change nothing
	Partial     bool  // not all of the point's keys are looked at
	Concurrency int   // how many entries it will be handed at once
	Memory      int64 // bytes it may use for buffers of its own
	// Fail reports an entry that was taken and went wrong after its Restore came back, or that had none (Done). It may be
	// called until Finish returns, from any goroutine.
	Fail func(key string, err error)
}

// Target is where a recovery point is restored to. Begin comes first and Close last; Close is called whatever happened,
// leaves nothing half-done behind under a right name, and removes what is temporary.
type Target interface {
	Begin(ctx context.Context, job Job) error
	// Accept decides what becomes of one key. It is called once for each, in order of keys, from one goroutine. versions are
	// the key's, oldest first, if KeepsVersions (of very many only the first; the others share the answer), else only the
	// current one. An error means that none of them is restored; see ErrRefused, ErrDiffers and ErrStop.
	Accept(ctx context.Context, versions []*format.Entry) (Receiver, Verdict, error)
	// Finish does what must come last. It is not called after a failed or cancelled run, nor for a dry one.
	Finish(ctx context.Context) error
	Close() error
	// KeepsVersions reports whether all versions and delete markers of a point are wanted. It is asked after Begin.
	KeepsVersions() bool
	// InOrder reports whether receivers must be called one at a time and in order of keys.
	InOrder() bool
	// Notes says in plain words what could not be kept of what was restored, after Finish.
	Notes() []string
}

// Receiver restores what was accepted: it is called once for each version that was taken, in their order and never for two of one key at
// once, unless the run ends before. Different receivers are called concurrently unless the target is InOrder. See ErrThere
// and ErrDiffers for what it may answer beside failures.
type Receiver interface {
	Restore(ctx context.Context, e *format.Entry, c Content) error
}

// Looker is a receiver that decides about each version by itself, so that asking the target takes many keys no longer than
// one: Look is called for every version of the key, in order and never for two at once, while other keys' are
// asked about. last says that it is the key's last. Restore may be called for earlier versions meanwhile. The answer is any
// verdict but Look, or an error as Accept gives it.
type Looker interface {
	Receiver
	Look(ctx context.Context, e *format.Entry, last bool) (Verdict, error)
}

// Piece is a run of an entry's content: Data, or Hole zero bytes. Data is valid until the next piece is asked for.
type Piece struct {
	Data []byte
	Hole int64
}

// Len is the number of content bytes.
func (p Piece) Len() int64 { return int64(len(p.Data)) + p.Hole }

// Content is one entry's bytes.
type Content struct {
	whole  []byte
	isHeld bool
	pieces func(context.Context) iter.Seq2[Piece, error]
	rough  func(context.Context) iter.Seq2[Piece, error] // nil: pieces
}

// Whole gives the content of a small entry, verified. It is valid during Restore only. ok is false for a large one, and
// where the content could not be had; Pieces tells.
func (c Content) Whole() (b []byte, ok bool) { return c.whole, c.isHeld }

// Pieces gives the content in order, each piece verified by itself, holes as such. The sequence ends without an error only if the whole
// was as long as the entry says and had its SHA-256: until then nothing may be called done. It can be asked for again, and
// is then fetched again.
func (c Content) Pieces(ctx context.Context) iter.Seq2[Piece, error] { return c.pieces(ctx) }

// Rough is Pieces for a receiver that can begin anew: the whole is verified at the end, and not each piece before, which is
// half the hashing. An error that wraps [ErrContent] at the end says that something was wrong, as where a forged object
// lies over the right one. Ask for Pieces then: they find the right one.
func (c Content) Rough(ctx context.Context) iter.Seq2[Piece, error] {
	if c.rough != nil {
		return c.rough(ctx)
	}
	return c.pieces(ctx)
}

// NoContent is what a receiver is handed with TakeEmpty.
func NoContent() Content {
	return Content{isHeld: true, pieces: func(context.Context) iter.Seq2[Piece, error] {
		return func(func(Piece, error) bool) {}
	}}
}

// held is the content of a small entry; holes are given as such.
func held(e *format.Entry, b []byte) Content {
	return Content{whole: b, isHeld: true, pieces: func(context.Context) iter.Seq2[Piece, error] {
		return func(yield func(Piece, error) bool) {
			at := int64(0)
			for i := range e.Chunks {
				c := &e.Chunks[i]
				p := Piece{Data: b[at : at+c.Size]}
				if c.Hole {
					p = Piece{Hole: c.Size}
				}
				if !yield(p, nil) {
					return
				}
				at += c.Size
			}
		}
	}}
}

// lost is content that could not be had.
func lost(err error) Content {
	return Content{pieces: func(context.Context) iter.Seq2[Piece, error] {
		return func(yield func(Piece, error) bool) { yield(Piece{}, err) }
	}}
}
