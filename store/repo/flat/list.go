package flat

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxHeld is how much of one folder's listing is held until it is known whether anything lies beside the folder.
const maxHeld = 16 << 10

// Versions implements store.Reader: everything under prefix by the name that references use, in order of that. What lies in the
// folder comes before what lies beside it.
func (r *Reader) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	kind, rest, ok := strings.Cut(prefix, "/")
	kind += "/"
	switch {
	case !ok || kind != format.PrefixPacks && kind != format.PrefixMeta && kind != format.PrefixNeeds:
		return r.in.Versions(ctx, prefix, after)
	case len(rest) <= 2:
		// What lies beside a folder comes behind all that is in it: behind a name of the folder is all that is beside it.
		return store.Behind(func(yield func(store.Info, error) bool) {
			l := lister{ctx: ctx, in: r.in, kind: kind, yield: yield}
			l.all(prefix, after)
		}, after)
	case rest[2] != '/':
		return r.in.Versions(ctx, prefix, after) // no name that references use begins so
	}
	hash, folder := rest[3:], rest[:2]
	if len(hash) < 2 && strings.HasPrefix(folder, hash) {
		hash = folder
	}
	if !strings.HasPrefix(hash, folder) {
		return r.in.Versions(ctx, prefix, after)
	}
	return store.Behind(func(yield func(store.Info, error) bool) {
		merge(r.in.Versions(ctx, prefix, after), beside(r.in.Versions(ctx, kind+hash, "")), yield)
	}, after)
}

// beside gives of a listing what lies under a name without folder, by the name that references use.
func beside(list iter.Seq2[store.Info, error]) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range list {
			at := info.Ref
			if info.Ref = Named(at); err == nil && info.Ref == at {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// merge gives two listings in order of name, of one name the first one's versions first. An error ends it.
func merge(a, b iter.Seq2[store.Info, error], yield func(store.Info, error) bool) bool {
	next, stop := iter.Pull2(b)
	defer stop()
	head, err, more := next()
	rest := func(until string, end bool) bool {
		for ; more && err == nil && (end || head.Name < until); head, err, more = next() {
			if !yield(head, nil) {
				return false
			}
		}
		if more && err != nil {
			yield(store.Info{}, err)
			return false
		}
		return true
	}
	for info, err := range a {
		if err != nil {
			yield(store.Info{}, err)
			return false
		}
		if !rest(info.Name, false) || !yield(info, nil) {
			return false
		}
	}
	return rest("", true)
}

// lister gives the listing of one kind of object. The vault lists a folder (packs/ab/..) and then what lies beside it
// (packs/ab..), and both are to come in one order. So what is listed of a folder is held until the next one begins; of a folder
// with more than is held, what lies beside it is listed apart.
type lister struct {
	ctx   context.Context
	in    store.Reader
	kind  string
	yield func(store.Info, error) bool
}

func (l *lister) all(prefix, after string) {
	next, stop := iter.Pull2(l.in.Versions(l.ctx, prefix, after))
	defer stop()
	info, err, more := next()
	for more && err == nil {
		group := l.group(info.Name)
		var held, flat []store.Info
		for ; more && err == nil && l.group(info.Name) == group && len(held)+len(flat) < maxHeld; info, err, more = next() {
			if at := info.Ref; Named(at) != at {
				info.Ref = Named(at)
				flat = append(flat, info)
			} else {
				held = append(held, info)
			}
		}
		if !more || err != nil || l.group(info.Name) != group {
			if !merge(listed(held), listed(flat), l.yield) {
				return
			}
			continue
		}
		// Too many to hold: the folder streams by.
		folder := func(yield func(store.Info, error) bool) {
			for _, info := range held {
				if !yield(info, nil) {
					return
				}
			}
			for ; more && err == nil && l.group(info.Name) == group; info, err, more = next() {
				if at := info.Ref; Named(at) == at && !yield(info, nil) {
					return
				}
			}
			if err != nil {
				yield(store.Info{}, err)
			}
		}
		if !merge(folder, l.apart(group), l.yield) {
			return
		}
	}
	if err != nil {
		l.yield(store.Info{}, err)
	}
}

// group tells the folder that a name is in or beside.
func (l *lister) group(name string) string {
	n := min(len(l.kind)+2, len(name))
	return name[:n]
}

// apart lists what lies beside a folder, sixteen times a part, so that the folder is not listed with it.
func (l *lister) apart(group string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for _, digit := range "0123456789abcdef" {
			for info, err := range beside(l.in.Versions(l.ctx, group+string(digit), "")) {
				if !yield(info, err) || err != nil {
					return
				}
			}
		}
	}
}

func listed(list []store.Info) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info := range slices.Values(list) {
			if !yield(info, nil) {
				return
			}
		}
	}
}
