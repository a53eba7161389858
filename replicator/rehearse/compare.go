package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const readers = 4 // files read at once

// errWrong: what was restored is not what the manifest says.
var errWrong = errors.New("what lies on the disk is not as in the manifest")

// errNotThere: the restore said nothing of an entry, and it is not there.
var errNotThere = fmt.Errorf("%w: it is not there, and the restore said nothing of it", errWrong)

// isBad reports whether an error says that an entry is damaged or lost, rather than that it could not be tested here.
func isBad(ctx context.Context, err error) bool {
	if errors.Is(err, restore.ErrRefused) || errors.Is(err, restore.ErrNotKept) || errors.Is(err, format.ErrUnknownKind) {
		return false
	}
	return errors.Is(err, errWrong) || errors.Is(err, restore.ErrContent) || repo.Classify(ctx, err).Lost()
}

// compare reads every item again and hands on what came of each: nil, or why it is not good. Calls of settled do not overlap.
func (r *rehearsal) compare(ctx context.Context, folder string, failed *failures, items iter.Seq[Item], settled func(Item, error)) error {
	root, err := os.OpenRoot(folder) // a link that was restored leads nowhere outside
	if errors.Is(err, fs.ErrNotExist) {
		root, err = nil, nil // nothing at all was restored
	}
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for x := range items {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			failed.mu.Lock()
			err := failed.keys[x.Key]
			failed.mu.Unlock()
			switch {
			case err != nil:
			case root == nil:
				err = errNotThere
			default:
				err = x.read(gctx, root)
			}
			if cerr := gctx.Err(); cerr != nil {
				return cerr
			}
			mu.Lock()
			defer mu.Unlock()
			settled(x, err)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// read compares one entry with what lies on the disk.
func (x *Item) read(ctx context.Context, root *os.Root) error {
	name := strings.TrimSuffix(x.Key, "/")
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errNotThere
	case err != nil:
		return err
	}
	switch {
	case x.kind == format.KindDir || strings.HasSuffix(x.Key, "/"):
		if !info.IsDir() {
			return fmt.Errorf("%w: a folder is to be there, and %s is", errWrong, info.Mode().Type())
		}
		return nil
	case x.kind == format.KindSymlink:
		target, err := root.Readlink(name)
		if err == nil && target != x.target {
			return fmt.Errorf("%w: the link points elsewhere", errWrong)
		}
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: a file is to be there, and %s is", errWrong, info.Mode().Type())
	case info.Size() != x.Size:
		return fmt.Errorf("%w: it has %d bytes instead of %d", errWrong, info.Size(), x.Size)
	}
	return x.hash(ctx, root, name, info)
}

// hash reads a file from the disk, not from what the system still remembers of having written it, and compares its sum.
func (x *Item) hash(ctx context.Context, root *os.Root, name string, info fs.FileInfo) (err error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrPermission) { // a file whose own mode keeps its owner out
		if err = root.Chmod(name, 0o600); err == nil {
			defer func() { err = errors.Join(err, root.Chmod(name, info.Mode())) }()
			f, err = root.Open(name)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	forget(f)
	sum := (&format.Entry{Kind: x.kind, Size: x.Size, Sparse: x.sparse}).NewSum()
	n, err := io.CopyBuffer(sum, io.LimitReader(reading{ctx, f}, x.Size+1), make([]byte, 256<<10))
	switch {
	case err != nil:
		return err
	case n != x.Size:
		return fmt.Errorf("%w: %d bytes could be read instead of %d", errWrong, n, x.Size)
	case sum.Sum() != x.sum:
		return fmt.Errorf("%w: its SHA-256 is another", errWrong)
	}
	return nil
}

// reading ends with its context.
type reading struct {
	ctx  context.Context //nolint:containedctx // of one file
	from io.Reader
}

func (r reading) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}
