package evidence

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/wholefile"
)

// Book is a reporter's memory on its machine, for one repository: the last record it made, records that are not in every
// vault yet, and how far each vault is. Whoever loses it begins a new series.
//
// A folder of plain files: "last" holds the name of the last record, "at-VAULT" that of the last one in the vault, "waiting"
// the records themselves under the last parts of their names. A record is made when its file has its name there.
type Book struct {
	dir string
}

const (
	lastFile   = "last"
	atPrefix   = "at-"
	waitingDir = "waiting"
	// maxWaiting bounds what is kept for a vault that is away: eleven years of nightly runs.
	maxWaiting = 4096
)

// OpenBook takes a reporter's book in a folder, which is made, as soon as no other process has it. The caller closes it.
func OpenBook(ctx context.Context, dir string) (*Book, io.Closer, error) {
	if err := os.MkdirAll(filepath.Join(dir, waitingDir), 0o700); err != nil {
		return nil, nil, fmt.Errorf("open the book of records: %w", err)
	}
	for {
		lock, err := cache.Lock(dir)
		if err == nil {
			return &Book{dir}, lock, nil
		}
		if !errors.Is(err, cache.ErrBusy) {
			return nil, nil, fmt.Errorf("open the book of records: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("open the book of records in %s, which another process has: %w", dir, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// place is where in its count a reporter stands.
type place struct {
	series format.Time
	number int
	sum    format.Hash
}

func placeOf(id format.RecordID) place { return place{id.Series, id.Number, id.Sum} }

func (p place) compare(o place) int {
	return cmp.Or(p.series.Compare(o.series.Time), cmp.Compare(p.number, o.number))
}

// last gives the last record that was made, and false if there is none. waiting are those that are kept.
func (b *Book) last(waiting []format.RecordID) (place, bool, error) {
	p, ok, err := b.read(lastFile)
	if err != nil {
		return place{}, false, err
	}
	if n := len(waiting) - 1; n >= 0 { // a run that was killed had made it and not noted it
		if q := placeOf(waiting[n]); !ok || p.compare(q) < 0 {
			return q, true, nil
		}
	}
	return p, ok, nil
}

// at gives the last record in a vault, and false if none is.
func (b *Book) at(vault string) (place, bool, error) { return b.read(atPrefix + vault) }

// read takes a noted name. What is no record's name is as good as none.
func (b *Book) read(file string) (place, bool, error) {
	name, err := os.ReadFile(filepath.Join(b.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, false, nil
	}
	if err != nil {
		return place{}, false, fmt.Errorf("read the book of records: %w", err)
	}
	id, err := format.ParseRecordName(strings.TrimSuffix(string(name), "\n"))
	return placeOf(id), err == nil, nil
}

// note writes a name down.
func (b *Book) note(file, name string) error { return b.write(file, []byte(name+"\n")) }

// write gives a file its content, all of it or none, for good.
func (b *Book) write(file string, content []byte) error {
	if err := wholefile.Write(filepath.Join(b.dir, file), content); err != nil {
		return fmt.Errorf("write the book of records: %w", err)
	}
	return nil
}

// made keeps a record until it is in every vault, and notes it as the last.
func (b *Book) made(id format.RecordID, body []byte) error {
	if err := b.write(filepath.Join(waitingDir, segment(id)), body); err != nil {
		return err
	}
	return b.note(lastFile, id.Name())
}

// segment is the last part of a record's name.
func segment(id format.RecordID) string {
	name := id.Name()
	return name[strings.LastIndexByte(name, '/')+1:]
}

// waiting lists the records that are kept, in order.
func (b *Book) waiting() ([]format.RecordID, error) {
	files, err := os.ReadDir(filepath.Join(b.dir, waitingDir))
	if err != nil {
		return nil, fmt.Errorf("read the book of records: %w", err)
	}
	var out []format.RecordID
	for _, f := range files {
		// The reporter's name is not in the file's: any will do to take the rest apart.
		if id, err := format.ParseRecordName(format.PrefixReports + "x/" + f.Name()); err == nil {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b format.RecordID) int { return placeOf(a).compare(placeOf(b)) })
	return out, nil
}

// body gives the bytes of a record that is kept.
func (b *Book) body(id format.RecordID) ([]byte, error) {
	f, err := os.Open(filepath.Join(b.dir, waitingDir, segment(id)))
	if err != nil {
		return nil, fmt.Errorf("read the book of records: %w", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, format.MaxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("read the book of records: %w", err)
	}
	if sumOf(body) != id.Sum {
		return nil, fmt.Errorf("the book of records: %s: %w", f.Name(), ErrChanged)
	}
	return body, nil
}

// forget removes a record that is in every vault.
func (b *Book) forget(id format.RecordID) error {
	if err := os.Remove(filepath.Join(b.dir, waitingDir, segment(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the book of records: %w", err)
	}
	return nil
}

func sumOf(b []byte) format.Hash { return sha256.Sum256(b) }
