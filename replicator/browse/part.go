package browse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Why a PREFIX names no part of a point. They are wrapped with what to do next.
var (
	ErrNoPart   = errors.New("nothing in this point has that key, or lies in a folder of that name")
	ErrTwoParts = errors.New("an entry and a folder have that name")
)

// FindPart gives the part of a point that prefix names: the folder of that name, with a slash at its end or without, or the one entry
// of that key. A folder is whatever keys have the name and a slash as their beginning: "a" is never a part of "ab". "" is the whole point.
// Only the few pages are loaded that can hold such keys. The error names what is near.
func FindPart(ctx context.Context, r *repo.Reader, c *format.Commit, prefix string) (part.Part, error) {
	if prefix == "" {
		return part.Part{}, nil
	}
	folder, entry := part.Folder(prefix), part.Entry(prefix)
	isFolder, err := has(ctx, r, c, folder)
	if err != nil {
		return part.Part{}, err
	}
	isEntry := false
	if folder.String() != prefix {
		if isEntry, err = has(ctx, r, c, entry); err != nil {
			return part.Part{}, err
		}
	}
	switch {
	case isFolder && isEntry:
		return part.Part{}, fmt.Errorf("%q: %w: write %q for the folder", prefix, ErrTwoParts, folder.String())
	case isFolder:
		return folder, nil
	case isEntry:
		return entry, nil
	}
	near, err := near(ctx, r, c, prefix)
	if err != nil {
		return part.Part{}, err
	}
	return part.Part{}, fmt.Errorf("%q: %w%s", prefix, ErrNoPart, near)
}

// has reports whether a point has an entry in the part.
func has(ctx context.Context, r *repo.Reader, c *format.Commit, p part.Part) (bool, error) {
	from, end := p.Range("")
	var lost error
	for e, err := range list(ctx, r, c, from, end) {
		if errors.As(err, new(*tree.Lost)) {
			lost = err
			continue
		}
		if errors.As(err, new(*tree.NotNewest)) {
			return true, nil // of a key that is there
		}
		if err != nil {
			return false, err
		}
		return e != nil, nil
	}
	return false, lost
}

// mostNear is how many names near says, and mostNames how many it looks at.
const (
	mostNear  = 5
	mostNames = 100
)

// near says which names are there that prefix could have meant: those in the innermost folder of it that there is.
func near(ctx context.Context, r *repo.Reader, c *format.Commit, prefix string) (string, error) {
	prefix = strings.TrimLeft(strings.TrimPrefix(strings.TrimRight(prefix, "/"), "."), "/") // written as a path is
	for {
		folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
		names, more, err := children(ctx, r, c, folder)
		if err != nil {
			return "", err
		}
		if len(names) > 0 {
			return nearest(folder, prefix[len(folder):], names, more), nil
		}
		if folder == "" {
			return "", nil
		}
		prefix = strings.TrimRight(folder, "/")
	}
}

// nearest puts those first that begin most like what was asked for.
func nearest(folder, asked string, names []string, more bool) string {
	alike := func(name string) int {
		n := 0
		for n < len(asked) && n < len(name) && asked[n]|0x20 == name[n]|0x20 {
			n++
		}
		return n
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(alike(b), alike(a)) })
	if len(names) > mostNear {
		names, more = names[:mostNear], true
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%q", folder+name)
	}
	text := "; there is " + strings.Join(names, ", ")
	if more {
		text += ", .."
	}
	return text
}

// children gives the names in a folder, those of folders with a slash at their end, in order; more says that there are others.
func children(ctx context.Context, r *repo.Reader, c *format.Commit, folder string) (names []string, more bool, err error) {
	from, end := part.Folder(folder).Range("")
	for {
		name := ""
		for e, err := range list(ctx, r, c, from, end) {
			if errors.As(err, new(*tree.Lost)) || errors.As(err, new(*tree.NotNewest)) {
				continue
			}
			if err != nil {
				return nil, false, err
			}
			if rest := e.Key[len(folder):]; rest != "" && e.Key != part.Root {
				name = rest
				break
			}
		}
		if name == "" {
			return names, false, nil
		}
		if len(names) == mostNames {
			return names, true, nil
		}
		first, _, isFolder := strings.Cut(name, "/")
		if from = folder + first + "\x00"; isFolder {
			first += "/"
			_, from = part.Folder(folder + first).Range("")
		}
		names = append(names, first)
	}
}
