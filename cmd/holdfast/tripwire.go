package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/store"
)

const tripwireHelp = `Write a few harmless files into a source that nobody has a reason to touch. Any change to one of them, and any that is gone, is an
alarm of the next run: see 'holdfast guard --help'.

Names and contents look like small tables of a company's books and mean nothing. They come from the host key: runs know them without a
list, and who sees the source cannot tell them from the rest. A bucket needs a credential that may put, read and list there (--credentials), for this once: the
source's own stays read-only. A folder is written to as this user.

Tell your colleagues' scripts that copy, clean up or index everything: who rewrites a tripwire gives an alarm. Repeating the command is
safe; after 'key rotate --fresh-start' the names are others, so run it again.`

// planted is one tripwire, for scripts.
type planted struct {
	Source string `json:"source"`
	Key    string `json:"key"`
	State  string `json:"state"` // planted, there
}

func (g *guardCommands) tripwireCommand() *cobra.Command {
	return g.group("tripwire", "Plant files whose change is an alarm", g.plantCommand())
}

func (g *guardCommands) plantCommand() *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:               "plant SOURCE [--credentials REF]",
		Short:             "Write tripwires into a source",
		Long:              tripwireHelp,
		Args:              takes(1, 1),
		ValidArgsFunction: g.complete.completeSources(1),
		RunE:              g.action(func(ctx context.Context, args []string) error { return g.plant(ctx, args[0], ref) }),
	}
	cmd.Flags().StringVar(&ref, "credentials", "", "of a bucket: where a credential lies that may put objects there, a `REF` such as profile:NAME")
	return cmd
}

func (g *guardCommands) plant(ctx context.Context, name, ref string) error {
	c, err := g.loadConfig()
	if err != nil {
		return err
	}
	j := (&job{app: g.app, config: c, backends: g.newBackends(filepath.Dir(c.Path), c.Limits)}).share()
	sources, err := j.pickSources([]string{name})
	if err != nil {
		return err
	}
	s := sources[0]
	h, err := j.hostKey()
	if err != nil {
		return err
	}
	all := wiresOf(s, h.ChunkKey)
	in, done, err := j.bed(s, ref, all)
	if err != nil {
		return err
	}
	for _, w := range all {
		state, perr := plantOne(ctx, in, w)
		if perr != nil {
			err = fmt.Errorf("source %s: plant a tripwire: %w", s.Name, perr)
			break
		}
		if g.ui.json {
			err = g.ui.object(planted{s.Name, w.Key, state})
		} else {
			err = g.ui.text(fmt.Sprintf("%s: %s", w.Key, map[string]string{"planted": "planted", "there": "is there already"}[state]))
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, done())
}

// wiresOf gives the tripwires of a source under the keys that they have there.
func wiresOf(s config.Source, key [32]byte) []guard.Wire {
	all := guard.Wires(key, s.Name)
	if s.URL.Kind != location.S3 {
		return all
	}
	if prefix := strings.Trim(s.URL.S3.Prefix, "/"); prefix != "" {
		for i := range all {
			all[i].Key = prefix + "/" + all[i].Key
		}
	}
	return all
}

// bed is where tripwires are written to.
type bed interface {
	// read gives what is there under a key; fs.ErrNotExist where nothing is.
	read(ctx context.Context, key string) ([]byte, error)
	// create writes what is not there.
	create(ctx context.Context, key string, body []byte) error
}

// bed opens a source to be written to, for this once.
func (j *job) bed(s config.Source, ref string, all []guard.Wire) (bed, func() error, error) {
	set, err := glob.ParseSet(s.Excluded())
	if err != nil {
		return nil, nil, usage(err)
	}
	for _, w := range all {
		if set.Match(w.Key) {
			return nil, nil, usage(fmt.Errorf("source %s: its exclude patterns leave out names such as %q: a tripwire there would never be looked at", s.Name, w.Key))
		}
	}
	switch s.URL.Kind {
	case location.File:
		if ref != "" {
			return nil, nil, usage(errors.New("--credentials: a folder takes none; it is written to as this user"))
		}
		root, err := os.OpenRoot(filepath.Clean(s.URL.Path))
		if err != nil {
			return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		return inFolder{root}, root.Close, nil
	case location.S3:
		if ref == "" {
			return nil, nil, usage(fmt.Errorf("--credentials REF is needed: the credentials of source %s only read, and are to stay like that", s.Name))
		}
		r, err := credentials.Parse(ref)
		if err != nil {
			return nil, nil, usage(fmt.Errorf("--credentials: %w", err))
		}
		j.backends.dir = "." // relative to where the command is given
		d, _, err := j.backends.open(s.URL, r)
		if err != nil {
			return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		return inBucket{d, strings.Trim(s.URL.S3.Prefix, "/")}, d.Close, nil
	}
	return nil, nil, usage(fmt.Errorf("source %s is no bucket and no folder: there is nothing to plant in", s.Name))
}

func plantOne(ctx context.Context, in bed, w guard.Wire) (state string, err error) {
	have, err := in.read(ctx, w.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "planted", in.create(ctx, w.Key, w.Body)
	case err != nil:
		return "", err
	case !bytes.Equal(have, w.Body):
		return "", fmt.Errorf("something else stands under the name of a tripwire, %q: if it is no file of yours, somebody wrote to the tripwire; look at it, and take it away", w.Key)
	}
	return "there", nil
}

// inFolder plants in a folder.
type inFolder struct{ root *os.Root }

func (f inFolder) read(_ context.Context, key string) ([]byte, error) {
	in, err := f.root.Open(key)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // only read from
	return io.ReadAll(io.LimitReader(in, maxWire))
}

func (f inFolder) create(_ context.Context, key string, body []byte) error {
	out, err := f.root.OpenFile(key, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = out.Write(body)
	return errors.Join(err, out.Sync(), out.Close())
}

// maxWire is more than a tripwire has.
const maxWire = 1 << 20

// inBucket plants in a bucket.
type inBucket struct {
	at     driver
	prefix string
}

func (b inBucket) name(key string) string {
	return strings.TrimPrefix(strings.TrimPrefix(key, b.prefix), "/")
}

func (b inBucket) read(ctx context.Context, key string) ([]byte, error) {
	in, err := b.at.Open(ctx, store.Ref{Name: b.name(key)}, 0, -1)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // only read from
	return io.ReadAll(io.LimitReader(in, maxWire))
}

func (b inBucket) create(ctx context.Context, key string, body []byte) error {
	_, err := b.at.Put(ctx, b.name(key), bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body), ContentType: "text/csv"})
	return err
}
