// Package pack is the sealed container that packs, meta objects, needs and placements objects share: a run of zstd frames,
// inside an age file or plain.
//
// Nothing home-made stands around the frames: `age -d -i KEY object | zstd -d` prints everything in order, and for a plain
// object `zstd -d` alone does. An [Encoder] makes frames, a [Builder] puts them into an object, an [Object] fetches, opens and
// decodes them again in few large ranges, a [Decoder] turns one frame back into bytes.
//
// It must never know what the bytes inside a frame mean, hold a private key while it writes, allocate by what an object
// claims about itself, or report a failure to fetch as damage.
package pack

import (
	"errors"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Errors that callers tell apart with errors.Is. Errors of a [Fetch] and of a visit function are given on as they are;
// seal.ErrNoKey is in the chain where no key fits.
var (
	// ErrDamaged: the object does not decrypt or decode, or does not hold the frame that a reference names.
	ErrDamaged = errors.New("stored object is damaged")
	// ErrFull: the frame would make the object larger than format.MaxPack.
	ErrFull = errors.New("object is full")
	// ErrClosed: the builder was closed, or failed, before.
	ErrClosed = errors.New("builder is closed")
)

// MaxFrameLength bounds the stored length in bytes of one frame: what format.MaxFrame plain bytes take as raw blocks.
const MaxFrameLength = format.MaxFrame + 1<<10
