package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// edits are what is done to a source before its third run.
type edits struct {
	changed, added map[string][]byte
	deleted        []string
}

// bytes that a third run has to read.
func (e edits) bytes() (n int64) {
	for _, m := range []map[string][]byte{e.changed, e.added} {
		for _, data := range m {
			n += int64(len(data))
		}
	}
	return n
}

// chooseEdits spreads the edits over the tree. read gives a file's content. What is new does not compress; what is
// changed gets a line of it.
func chooseEdits(s state, changed, added, deleted int, read func(key string) ([]byte, error)) (edits, error) {
	e := edits{changed: map[string][]byte{}, added: map[string][]byte{}}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if i := s[key]; i.sum != "" && i.size > 0 && i.size < 1<<18 && filepath.Dir(key) != "odd things" {
			keys = append(keys, key)
		}
	}
	step := len(keys) / (changed + deleted)
	for n := range changed + deleted {
		key := keys[n*step]
		if n%(changed/deleted+1) == 0 && len(e.deleted) < deleted {
			e.deleted = append(e.deleted, key)
			continue
		}
		data, err := read(key)
		if err != nil {
			return e, err
		}
		e.changed[key] = append(data, hex.EncodeToString(noise(32))+"\n"...)
	}
	for n := range added {
		e.added[fmt.Sprintf("src/added/%03d.bin", n)] = noise(500 + 400*n)
	}
	return e, nil
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// scene is a source that can be looked at and edited, with places to restore to.
type scene struct {
	source  place
	state   func(ctx context.Context) (state, error)
	edit    func(ctx context.Context, changed, added, deleted int) (edits, error)
	targets func(ctx context.Context) ([]target, error)
	folders bool // folders are entries too, and change with what is in them
}

// target is where a point is restored to, and how that is read back.
type target struct {
	name        string
	to          place
	contentOnly bool
	state       func(ctx context.Context) (state, error)
}

// sizes of a scene's play.
type sizes struct{ changed, added, deleted int }

// play runs the three runs and all restores.
func (w *world) play(ctx context.Context, sc scene, vault servers.Kind, n sizes) error {
	where, reader, err := w.lockedVault(ctx, vault)
	if err != nil {
		return err
	}
	j, err := newJob(ctx, w, sc.source, where, reader)
	if err != nil {
		return err
	}
	var costs []cost
	var points [3]made
	var states [3]state
	if states[0], err = sc.state(ctx); err != nil {
		return err
	}
	fmt.Printf("%d entries, %d bytes\n", len(states[0]), states[0].bytes())
	time.Sleep(2100 * time.Millisecond) // what changed within two seconds of the reading is looked at again
	if points[0], err = j.run(ctx, "first run"); err != nil {
		return err
	}
	if points[1], err = j.run(ctx, "second run, nothing changed"); err != nil {
		return err
	}
	states[1] = states[0]
	w.bar(points[1].BytesRead == 0, "second run read %d bytes of content, bar 0", points[1].BytesRead)
	w.bar(points[1].ObjectsStored < 10, "second run stored %d objects, bar under 10", points[1].ObjectsStored)
	done, err := sc.edit(ctx, n.changed, n.added, n.deleted)
	if err != nil {
		return err
	}
	time.Sleep(2100 * time.Millisecond)
	if states[2], err = sc.state(ctx); err != nil {
		return err
	}
	if points[2], err = j.run(ctx, "third run, after the edits"); err != nil {
		return err
	}
	thirdRun(w, points[2], done, sc.folders)
	for i, p := range points {
		costs = append(costs, p.cost)
		targets, err := sc.targets(ctx)
		if err != nil {
			return err
		}
		for _, t := range targets {
			c, err := j.restore(ctx, fmt.Sprintf("restore point %d to %s", i+1, t.name), p.Point, t.to)
			if err != nil {
				return err
			}
			costs = append(costs, c)
			is, err := t.state(ctx)
			if err != nil {
				return err
			}
			w.same(fmt.Sprintf("point %d in %s", i+1, t.name), states[i], is, t.contentOnly)
		}
	}
	w.inMemory(costs...)
	return nil
}

// thirdRun holds the third run to what was edited.
func thirdRun(w *world, m made, e edits, folders bool) {
	plain := e.bytes()
	added, changed, deleted, note := int64(len(e.added)), int64(len(e.changed)), int64(len(e.deleted)), ""
	exact := m.Added == added && m.Changed == changed && m.Deleted == deleted
	if folders {
		exact, note = m.Added >= added && m.Changed >= changed && m.Deleted == deleted, ", and the folders they are in"
	}
	w.bar(exact, "third run found +%d ~%d -%d of +%d ~%d -%d%s", m.Added, m.Changed, m.Deleted, added, changed, deleted, note)
	w.bar(m.BytesRead == plain, "third run read %d bytes of content, the edited objects have %d", m.BytesRead, plain)
	const fixed = 256 << 10 // headers of sealed objects, the tree's inner pages, the commit
	w.bar(m.BytesStored <= plain+plain/4+fixed, "third run stored %d bytes in %d objects for %d bytes of edited objects: %.2f of them",
		m.BytesStored, m.ObjectsStored, plain, float64(m.BytesStored)/float64(plain))
}

// bucketScene has a bucket of the Go tree's files, limit of them or all for 0.
func bucketScene(ctx context.Context, w *world, k servers.Kind, limit int, more ...func(*bucket) error) (sc scene, err error) {
	root, err := goTree(ctx)
	if err != nil {
		return sc, err
	}
	b, err := w.newBucket(ctx, k)
	if err != nil {
		return sc, err
	}
	if err := b.fill(ctx, root, limit, true); err != nil {
		return sc, err
	}
	for _, m := range more {
		if err := m(b); err != nil {
			return sc, err
		}
	}
	if sc.source, err = b.asSource(ctx); err != nil {
		return sc, err
	}
	sc.state = b.state
	sc.edit = b.edit
	sc.targets = func(ctx context.Context) ([]target, error) {
		to, err := w.newBucket(ctx, k)
		dir := w.path("restored")
		return []target{
			{"a fresh bucket", to.asOwner(), false, to.state},
			{"a fresh directory", dirAt(dir), true, func(context.Context) (state, error) { return folderState(dir, true) }},
		}, err
	}
	return sc, nil
}

// edit makes the edits in the bucket.
func (b *bucket) edit(ctx context.Context, changed, added, deleted int) (edits, error) {
	root, err := goTree(ctx)
	if err != nil {
		return edits{}, err
	}
	s, err := b.state(ctx)
	if err != nil {
		return edits{}, err
	}
	e, err := chooseEdits(s, changed, added, deleted, func(key string) ([]byte, error) { return os.ReadFile(filepath.Join(root, key)) })
	if err != nil {
		return e, err
	}
	c := b.s.Admin()
	i := 0
	for _, m := range []map[string][]byte{e.changed, e.added} {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			i++
			if err := b.put(ctx, c, key, m[key], options(i, key, true)); err != nil {
				return e, err
			}
		}
	}
	for _, key := range e.deleted {
		if err := c.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{}); err != nil {
			return e, fmt.Errorf("delete %s: %w", key, err)
		}
	}
	return e, nil
}

func realTree(ctx context.Context, w *world) error {
	sc, err := bucketScene(ctx, w, servers.KindVersityGW, 0)
	if err != nil {
		return err
	}
	return w.play(ctx, sc, servers.KindMinIO, sizes{changed: 100, added: 50, deleted: 25})
}

func swappedTree(ctx context.Context, w *world) error {
	sc, err := bucketScene(ctx, w, servers.KindMinIO, 0)
	if err != nil {
		return err
	}
	return w.play(ctx, sc, servers.KindVersityGW, sizes{changed: 100, added: 50, deleted: 25})
}

// small is the same play with few objects, and some large enough that there are several packs.
func small(ctx context.Context, w *world) error {
	sc, err := bucketScene(ctx, w, servers.KindVersityGW, 54, func(b *bucket) error { return b.fillNoise(ctx, 6, 14<<20, 0) })
	if err != nil {
		return err
	}
	return w.play(ctx, sc, servers.KindMinIO, sizes{changed: 6, added: 4, deleted: 3})
}

func dirTree(ctx context.Context, w *world) error {
	dir := w.path("folder")
	if err := makeFolder(ctx, dir); err != nil {
		return err
	}
	sc := scene{
		source:  dirAt(dir),
		folders: true,
		state:   func(context.Context) (state, error) { return folderState(dir, false) },
		edit: func(_ context.Context, changed, added, deleted int) (edits, error) {
			return editFolder(dir, changed, added, deleted)
		},
		targets: func(context.Context) ([]target, error) {
			to := w.path("restored")
			return []target{{"a fresh directory", dirAt(to), false, func(context.Context) (state, error) { return folderState(to, false) }}}, nil
		},
	}
	return w.play(ctx, sc, servers.KindMinIO, sizes{changed: 100, added: 50, deleted: 25})
}

func editFolder(dir string, changed, added, deleted int) (edits, error) {
	s, err := folderState(dir, false)
	if err != nil {
		return edits{}, err
	}
	e, err := chooseEdits(s, changed, added, deleted, func(key string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, key)) })
	if err != nil {
		return e, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "src/added"), 0o755); err != nil {
		return e, err
	}
	for _, m := range []map[string][]byte{e.changed, e.added} {
		for key, data := range m {
			p := filepath.Join(dir, key)
			if err := os.WriteFile(p, data, 0o644); err != nil {
				return e, err
			}
		}
	}
	for _, key := range e.deleted {
		if err := os.Remove(filepath.Join(dir, key)); err != nil {
			return e, err
		}
	}
	return e, nil
}
