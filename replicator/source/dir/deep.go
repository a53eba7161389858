package dirsource

import (
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// longKey is from which length on a key is opened by way of folders that are held open: the system takes paths of less
	// than 4 KiB in one call.
	longKey = 4000
	// maxHeld is how many folders are held open for that.
	maxHeld = 128
)

// open opens a key below the root and follows no symbolic link.
func (v *view) open(key string, flags int) (int, error) {
	if len(key) < longKey {
		return openBeneath(v.root, key, flags)
	}
	fd, err := v.deep.open(v.root, key, flags)
	if err != nil { // a folder that is held may be elsewhere by now
		v.deep.forget(key)
		fd, err = v.deep.open(v.root, key, flags)
	}
	return fd, err
}

// deep opens keys that are too long for one call. The folders they lie in stay open for the next ones, which mostly lie in
// the same or just below: so a key costs the same at any depth.
type deep struct {
	mu    sync.Mutex
	folds map[string]*held
	order []*held // the one used last is last
}

// held is a folder that is open.
type held struct {
	key     string
	fd      int
	users   int
	dropped bool // out of the map: the last user closes it
}

func (d *deep) open(root int, key string, flags int) (int, error) {
	name := strings.TrimSuffix(key, "/")
	cut := strings.LastIndexByte(name, '/') + 1
	if cut == 0 {
		return openBeneath(root, key, flags)
	}
	h, err := d.folder(root, key[:cut])
	if err != nil {
		return -1, err
	}
	defer d.done(h)
	return openBeneath(h.fd, key[cut:], flags)
}

// stride is how far apart, in bytes of their keys, the folders are from which others are opened. Whichever way a tree is gone
// through, a folder is opened from one that is no further above it.
const stride = 2048

// folder gives the folder of a key, for the caller to give back with done.
func (d *deep) folder(root int, key string) (*held, error) {
	d.mu.Lock()
	h := d.folds[key]
	if h != nil {
		h.users++
		d.touch(h)
	}
	d.mu.Unlock()
	if h != nil {
		return h, nil
	}
	from, rest := root, key
	if at := strings.LastIndexByte(key[:(len(key)-1)/stride*stride], '/') + 1; at > 0 {
		above, err := d.folder(root, key[:at])
		if err != nil {
			return nil, err
		}
		defer d.done(above)
		from, rest = above.fd, key[at:]
	}
	fd, err := openBeneath(from, rest, pathFlags|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return d.hold(key, fd), nil
}

// hold keeps a folder open that was just opened.
func (d *deep) hold(key string, fd int) *held {
	h := &held{key: key, fd: fd, users: 1}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.folds[key] != nil { // somebody else was as fast: each closes its own
		h.dropped = true
		return h
	}
	if d.folds == nil {
		d.folds = map[string]*held{}
	}
	if len(d.order) >= maxHeld {
		d.drop(d.order[0])
	}
	d.folds[key] = h
	d.order = append(d.order, h)
	return h
}

// touch makes h the one used last; the lock is held.
func (d *deep) touch(h *held) {
	for i, o := range d.order {
		if o == h {
			copy(d.order[i:], d.order[i+1:])
			d.order[len(d.order)-1] = h
			return
		}
	}
}

// drop takes h out; the lock is held.
func (d *deep) drop(h *held) {
	d.touch(h)
	d.order = d.order[:len(d.order)-1]
	delete(d.folds, h.key)
	h.dropped = true
	if h.users == 0 {
		_ = unix.Close(h.fd)
	}
}

func (d *deep) done(h *held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h.users--; h.users == 0 && h.dropped {
		_ = unix.Close(h.fd)
	}
}

// forget drops the folders a key lies in.
func (d *deep) forget(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.order) - 1; i >= 0; i-- {
		if h := d.order[i]; strings.HasPrefix(key, h.key) {
			d.drop(h)
		}
	}
}

func (d *deep) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.order) > 0 {
		d.drop(d.order[len(d.order)-1])
	}
}
