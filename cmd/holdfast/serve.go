package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/image"
	"github.com/holdfast-backup/holdfast/replicator/nbd"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const serveHelp = `Serve what a recovery point holds to other programs, without restoring it.`

const serveNBDHelp = `Serve one entry's content, a disk image or any other large file, as a read-only network
block device: mount it, or take one file out of it. Only what is asked for is read from
the vault, and every byte is verified before it is served.

KEY is the entry's whole key, as 'holdfast ls' gives it; of several versions the current
one is served, or --version-id. The command serves until it is stopped (Ctrl-C).

  nbdcopy nbd://127.0.0.1:10809 disk.raw
  qemu-nbd --read-only --connect=/dev/nbd0 nbd://127.0.0.1:10809 && mount -o ro /dev/nbd0p1 /mnt
  nbd-client 127.0.0.1 /dev/nbd0 && mount -o ro,norecovery /dev/nbd0 /mnt
  debugfs and the like on a unix socket: --socket PATH, which only its owner can open

NBD as it is spoken here has neither a password nor encryption. So the address must be this
machine's own, unless --allow-remote says that whoever can reach it may read the content.
` + pointHelp + readerHelp

// serveFlags are those of serve nbd alone.
type serveFlags struct {
	listen, socket, version string
	remote                  bool
}

// servingJSON says where the device is to be had, for scripts.
type servingJSON struct {
	Point     string `json:"point"`
	Source    string `json:"source"`
	Vault     string `json:"vault"`
	Key       string `json:"key"`
	KeyB64    string `json:"key_b64,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	Size      int64  `json:"size"`
	URI       string `json:"uri"`
}

func (a *readCommands) serveCommand() *cobra.Command {
	cmd := a.group("serve", "Serve an entry as a network block device", a.serveNBDCommand())
	cmd.Long = serveHelp
	return cmd
}

func (a *readCommands) serveNBDCommand() *cobra.Command {
	var f readerFlags
	var sf serveFlags
	cmd := &cobra.Command{
		Use:               "nbd POINT KEY",
		Short:             "Serve an entry read-only as a network block device",
		Long:              serveNBDHelp,
		Args:              takes(2, 2),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.serveNBD(ctx, &f, &sf, args[0], args[1])
		}),
	}
	f.addUnvouched(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	f.addAllowIncomplete(cmd)
	s := cmd.Flags()
	s.StringVar(&sf.listen, "listen", "127.0.0.1:10809", "`ADDRESS:PORT` to serve at; port 0 takes a free one")
	s.StringVar(&sf.socket, "socket", "", "serve on a unix socket at `PATH` instead, which only its owner can open")
	s.StringVar(&sf.version, "version-id", "", "this `VERSION` of KEY instead of the current one")
	s.BoolVar(&sf.remote, "allow-remote", false, "let --listen name an address that other machines reach: whoever does reads the content")
	return cmd
}

func (a *readCommands) serveNBD(ctx context.Context, f *readerFlags, sf *serveFlags, spec, key string) (err error) {
	if err := sf.check(); err != nil {
		return err
	}
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	reader, err := r.content()
	if err != nil {
		return err
	}
	p, err := r.point(ctx, spec)
	if err != nil {
		return together{err, r.alarm()}.orNil()
	}
	e, err := entryOf(ctx, reader, p, key, sf.version)
	if err != nil {
		return together{err, r.alarm()}.orNil()
	}
	m, err := image.New(reader, e, image.Options{Memory: r.memory() / 4, Fetches: min(r.connections(), maxServeFetches)})
	if err != nil {
		return &marked{errNoEntry, err}
	}
	l, err := sf.open()
	if err != nil {
		return err
	}
	defer l.Close()
	err = r.restores.serve(ctx, l, m, e, p, sf)
	return together{err, r.alarm()}.orNil()
}

// maxServeFetches is how many stored objects are read at once for all clients.
const maxServeFetches = 16

// errNoEntry: the point has no such entry, or it has no content.
var errNoEntry = errors.New("no such entry")

// entryOf finds an entry by its whole key; the last one is the current one.
func entryOf(ctx context.Context, in *repo.Reader, p browse.Point, key, version string) (*format.Entry, error) {
	var found *format.Entry
	for e, err := range browse.List(ctx, in, p.Commit, key) {
		if err != nil {
			return nil, err
		}
		if e.Key != key {
			break
		}
		if version == "" || e.Version == version {
			found = e
		}
	}
	switch {
	case found == nil && version != "":
		return nil, &marked{errNoEntry, fmt.Errorf("point %.12s has no version %s of %s; `holdfast ls --long` gives them", p.ID, safe(version), safe(key))}
	case found == nil:
		return nil, &marked{errNoEntry, fmt.Errorf("point %.12s has no entry %s; `holdfast ls` gives the keys, whole ones are needed here", p.ID, safe(key))}
	case found.Kind == format.KindMarker:
		return nil, &marked{errNoEntry, fmt.Errorf("%s was deleted when this point was made; give an older version with --version-id, `holdfast ls --long` lists them", safe(key))}
	}
	return found, nil
}

// check refuses an address that other machines reach, before anything is read.
func (sf *serveFlags) check() error {
	if sf.socket != "" {
		return nil
	}
	host, _, err := net.SplitHostPort(sf.listen)
	if err != nil {
		return usage(fmt.Errorf("--listen %s: give an address and a port, such as 127.0.0.1:10809", safe(sf.listen)))
	}
	if ip := net.ParseIP(host); sf.remote || ip != nil && ip.IsLoopback() || host == "localhost" {
		return nil
	}
	return usage(fmt.Errorf("--listen %s can be reached from other machines, and NBD has neither a password nor encryption here: use 127.0.0.1 or --socket PATH with a tunnel, or say --allow-remote", safe(sf.listen)))
}

// open begins to listen.
func (sf *serveFlags) open() (net.Listener, error) {
	if sf.socket == "" {
		l, err := net.Listen("tcp", sf.listen)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, usage(fmt.Errorf("--listen %s: something else listens there; take another port, or port 0 for any", safe(sf.listen)))
		}
		if err != nil {
			return nil, fmt.Errorf("--listen: %w", err)
		}
		return l, nil
	}
	path, err := filepath.Abs(sf.socket)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, usage(fmt.Errorf("--socket %s exists; a socket that was left behind can be removed", safe(sf.socket)))
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	return l, nil
}

// listenPrivately makes a unix socket that only its owner can open, from the first moment on. The umask is the process's;
// what else is made meanwhile is only made more private.
func listenPrivately(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}

// uri is how clients name what is served here.
func (sf *serveFlags) uri(l net.Listener) string {
	if sf.socket != "" {
		return "nbd+unix:///?socket=" + url.QueryEscape(l.Addr().String())
	}
	return "nbd://" + l.Addr().String()
}

// serve serves until the command is stopped, which is how it ends well.
func (r *restoring) serve(ctx context.Context, l net.Listener, m *image.Image, e *format.Entry, p browse.Point, sf *serveFlags) error {
	var failures serveFailures
	s, err := nbd.New(nbd.Options{
		Name: e.Key, Export: export{m}, Memory: r.memory() / 8,
		Failed: func(off, n int64, err error) {
			if failures.first(err) {
				r.ui.warn("%s: %d bytes at %d cannot be read: %v", safe(e.Key), n, off, err)
			}
		},
		Dropped: func(client string, err error) { r.ui.detail("a client (%s) was dropped: %v", client, err) },
	})
	if err != nil {
		return err
	}
	line := servingJSON{
		Point: p.ID.String(), Source: p.Source, Vault: r.vault.name, Key: e.Key, KeyB64: b64(e.Key), VersionID: e.Version,
		Size: e.Size, URI: sf.uri(l),
	}
	text := fmt.Sprintf("%s@%.12s: serving %s (%s) read-only at %s", p.Source, line.Point, safe(e.Key), size(e.Size), line.URI)
	if err := r.ui.summary(line, text, false); err != nil {
		return err
	}
	err = s.Serve(ctx, l)
	c := s.Counts()
	r.ui.remark("Served %s in %s to %s.", size(c.Bytes), plural(c.Reads, "read", "reads"), plural(c.Clients, "client", "clients"))
	if err == nil && failures.worst != nil {
		err = &marked{failures.worst, fmt.Errorf("%s could not be answered", plural(c.Errors, "read", "reads"))}
	}
	return err
}

// export serves an image.
type export struct{ *image.Image }

func (x export) Status(ctx context.Context, off, n int64, most int) ([]nbd.Span, error) {
	spans, err := x.Image.Status(ctx, off, n, most)
	out := make([]nbd.Span, len(spans))
	for i, s := range spans {
		out[i] = nbd.Span{Len: s.Len, Hole: s.Hole}
	}
	return out, err
}

// serveFailures keeps a client that tries again and again from filling the terminal.
type serveFailures struct {
	mu    sync.Mutex
	said  map[string]bool
	worst error // damage if there was any, else the first
}

const maxServeWarnings = 100

// first reports whether this failure is worth a line.
func (f *serveFailures) first(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if code, _ := exitOfOne(err); f.worst == nil || code == exitDamage {
		f.worst = err
	}
	if f.said == nil {
		f.said = map[string]bool{}
	}
	text := err.Error()
	if f.said[text] || len(f.said) >= maxServeWarnings {
		return false
	}
	f.said[text] = true
	return true
}
