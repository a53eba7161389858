// Package flat lets a repository live in a vault that refuses its folders: where an object lies at packs/ab, a server that keeps
// objects as files takes nothing below it, and neither does a directory. What belongs there lies beside it then, as
// packs/HASH.age.
//
// Reader, Writer, Locker and Remover stand over those of a vault and speak of every object by the one name that references use,
// packs/ab/HASH.age. Only the version tells the other place: it begins with a mark. The package knows names and
// nothing else of the format; it must never guess which of two objects is meant.
package flat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// mark begins the version of what lies under its name without folder. No vault's own version begins so.
const mark = "./"

// Place gives the name and version under which a vault itself has what ref names.
func Place(ref store.Ref) store.Ref {
	if version, ok := strings.CutPrefix(ref.Version, mark); ok {
		if name, ok := format.WithoutFolder(ref.Name); ok {
			return store.Ref{Name: name, Version: version}
		}
	}
	return ref
}

// Named is the reverse of Place.
func Named(at store.Ref) store.Ref {
	if name, ok := format.WithFolder(at.Name); ok {
		return store.Ref{Name: name, Version: mark + at.Version}
	}
	return at
}

// Describe tells a person which version a ref is, and where it lies where that is not under its name.
func Describe(ref store.Ref) string {
	switch at := Place(ref); {
	case at == ref:
		return "version " + ref.Version
	case at.Version == "":
		return at.Name
	default:
		return at.Name + ", version " + at.Version
	}
}

// Reader reads a vault in which objects may lie under either name.
type Reader struct{ in store.Reader }

// NewReader stands over in, which it gives back where it is a Reader already.
func NewReader(in store.Reader) *Reader {
	if r, ok := in.(*Reader); ok {
		return r
	}
	return &Reader{in}
}

// Open implements store.Reader. Without a version the name with the folder comes first, then the other.
func (r *Reader) Open(ctx context.Context, ref store.Ref, off, n int64) (body io.ReadCloser, err error) {
	err = either(ref, func(at store.Ref) error {
		body, err = r.in.Open(ctx, at, off, n)
		return err
	})
	return body, err
}

// Stat implements store.Reader, in the same order.
func (r *Reader) Stat(ctx context.Context, ref store.Ref) (info store.Info, lock store.Retention, err error) {
	err = either(ref, func(at store.Ref) error {
		info, lock, err = r.in.Stat(ctx, at)
		info.Ref = Named(info.Ref)
		return err
	})
	return info, lock, err
}

// either asks for what a ref names. What is missing under both names is missing under its own.
func either(ref store.Ref, ask func(at store.Ref) error) error {
	err := ask(Place(ref))
	if ref.Version != "" || !errors.Is(err, store.ErrNotFound) {
		return err
	}
	other, ok := format.WithoutFolder(ref.Name)
	if !ok {
		return err
	}
	if oerr := ask(store.Ref{Name: other}); !errors.Is(oerr, store.ErrNotFound) {
		return oerr
	}
	return err
}

// Writer stores objects under their names, or under those without folder where the vault refuses the folder.
type Writer struct {
	out store.Writer
	in  store.Reader // tells what is in the way; may be nil

	mu      sync.Mutex
	refused map[string]bool // folders; 768 at most
}

// NewWriter stands over out.
func NewWriter(out store.Writer, in store.Reader) *Writer {
	return &Writer{out: out, in: in, refused: map[string]bool{}}
}

// Put implements store.Writer. A folder that was refused once is not tried again.
func (w *Writer) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	other, ok := format.WithoutFolder(name)
	if !ok || !w.refuses(name, false) {
		ref, err := w.out.Put(ctx, name, body, size, o)
		if !errors.Is(err, store.ErrInTheWay) {
			return ref, err
		}
		if !ok {
			return ref, w.inTheWay(ctx, name, err)
		}
	}
	ref, err := w.out.Put(ctx, other, body, size, o)
	if errors.Is(err, store.ErrInTheWay) {
		return store.Ref{Name: name}, w.inTheWay(ctx, other, err)
	}
	if err != nil {
		return store.Ref{Name: name}, err
	}
	w.refuses(name, true)
	return Named(ref), nil
}

// refuses reports whether the folder of a name was refused before; now says that it was.
func (w *Writer) refuses(name string, now bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	folder := name[:strings.LastIndexByte(name, '/')]
	w.refused[folder] = w.refused[folder] || now
	return w.refused[folder]
}

// inTheWay says which object is in the way of name, and what helps.
func (w *Writer) inTheWay(ctx context.Context, name string, err error) error {
	for i := range len(name) {
		if name[i] != '/' || w.in == nil {
			continue
		}
		at := name[:i]
		if _, _, serr := w.in.Stat(ctx, store.Ref{Name: at}); serr == nil {
			return fmt.Errorf("an object named %q lies where this vault would have to keep a folder; delete every version of it there, with an "+
				"administrator's key once its lock is over, or take another prefix for this vault and run `holdfast init`: %w", at, err)
		}
	}
	return fmt.Errorf("an object lies where this vault would have to keep a folder of %q; delete every version of it there, or take another "+
		"prefix for this vault and run `holdfast init`: %w", name, err)
}

// Locker lengthens locks.
type Locker struct{ store.Locker }

// Extend implements store.Locker. Where there are no versions to tell, it goes by the name with the folder first.
func (l Locker) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	return either(ref, func(at store.Ref) error { return l.Locker.Extend(ctx, at, to) })
}

// Remover deletes versions. A ref is taken at its word.
type Remover struct{ store.Remover }

// Remove implements store.Remover.
func (r Remover) Remove(ctx context.Context, ref store.Ref) error {
	return r.Remover.Remove(ctx, Place(ref))
}
