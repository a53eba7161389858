package dirstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// recorded is the JSON of one file under .holdfast/retention.
type recorded struct {
	Mode  store.Mode `json:"mode"`
	Until time.Time  `json:"until"`
}

// maxRecorded bounds what is read of such a file.
const maxRecorded = 4096

// Extend implements store.Locker on the recorded retention, which like a compliance lock only grows.
func (s *Store) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	if err := s.kept.extend(ctx, ref, to); err != nil {
		return s.fail("extend", ref, err)
	}
	return nil
}

func (s *retentions) extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	_, _, err := s.stat(ctx, ref)
	if err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("%w: opened for reading only", store.ErrDenied)
	}
	want, err := s.asked(to)
	if err != nil {
		return err
	}
	if want.Mode == store.ModeNone {
		return errors.New("no retention given")
	}
	unlock, err := s.lockRecords()
	if err != nil {
		return err
	}
	defer unlock()
	have, err := s.readRetention(ref.Name)
	if err != nil {
		return err
	}
	if have.Until.After(s.opts.Now()) && (want.Until.Before(have.Until) || !want.Covers(have)) {
		return fmt.Errorf("%w: in %s mode until %s", store.ErrLocked, have.Mode, have.Until.Format(time.RFC3339))
	}
	return s.writeRetention(ref.Name, want)
}

// Remove implements store.Remover. It refuses while the recorded retention lasts; whoever can write to the directory can
// do without it.
func (s *Store) Remove(ctx context.Context, ref store.Ref) error {
	if err := s.kept.remove(ctx, ref); err != nil {
		return s.fail("remove", ref, err)
	}
	return nil
}

func (s *retentions) remove(ctx context.Context, ref store.Ref) error {
	if err := s.check(ctx, ref.Name); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("%w: opened for reading only", store.ErrDenied)
	}
	unlock, err := s.lockRecords()
	if err != nil {
		return err
	}
	defer unlock()
	_, have, err := s.stat(ctx, ref)
	if err != nil {
		return err
	}
	if have.Until.After(s.opts.Now()) {
		return fmt.Errorf("%w: until %s", store.ErrLocked, have.Until.Format(time.RFC3339))
	}
	if err := s.root.Remove(ref.Name); err != nil {
		return err
	}
	if err := s.root.Remove(path.Join(retentionDir, ref.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.syncDir(path.Dir(ref.Name))
}

// Inspect implements store.Inspector. The clock is the local one, so its offset is nothing.
func (s *Store) Inspect(ctx context.Context) (store.Facts, error) {
	if err := ctx.Err(); err != nil {
		return store.Facts{}, s.fail("inspect", store.Ref{}, err)
	}
	if _, err := s.root.Stat("."); err != nil {
		return store.Facts{}, s.fail("inspect", store.Ref{}, err)
	}
	return store.Facts{Clock: s.opts.Now().UTC().Round(0)}, nil
}

// asked gives the retention as it will be recorded: whole seconds, of a known mode, in the future; or none.
func (s *retentions) asked(r store.Retention) (store.Retention, error) {
	if r.Mode == store.ModeNone && r.Until.IsZero() {
		return store.Retention{}, nil
	}
	if r.Mode != store.Compliance && r.Mode != store.Governance {
		return r, fmt.Errorf("lock mode %q", r.Mode)
	}
	until := r.Until.UTC().Round(0)
	if w := until.Truncate(time.Second); !w.Equal(until) {
		until = w.Add(time.Second)
	}
	if !until.After(s.opts.Now()) {
		return r, fmt.Errorf("retain-until %s is past", until.Format(time.RFC3339))
	}
	return store.Retention{Mode: r.Mode, Until: until}, nil
}

// readRetention gives the zero Retention where nothing is recorded, as in a plain copy of a bucket.
func (s *retentions) readRetention(name string) (store.Retention, error) {
	f, err := s.root.OpenFile(path.Join(retentionDir, name), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return store.Retention{}, nil
	}
	if err != nil {
		return store.Retention{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecorded))
	if err != nil {
		return store.Retention{}, err
	}
	var rec recorded
	if err := json.Unmarshal(data, &rec); err != nil {
		return store.Retention{}, fmt.Errorf("recorded retention of %s: %w", name, err)
	}
	return store.Retention{Mode: rec.Mode, Until: rec.Until.UTC()}, nil
}

// grow records r for name unless as much is recorded already.
func (s *retentions) grow(name string, r store.Retention) error {
	unlock, err := s.lockRecords()
	if err != nil {
		return err
	}
	defer unlock()
	have, err := s.readRetention(name)
	if err != nil {
		return err
	}
	if have.Mode != store.ModeNone && have.Covers(r) {
		return nil
	}
	// Governance until later and compliance until sooner become the stricter of both.
	if have.Until.After(r.Until) {
		r.Until = have.Until
	}
	if have.Mode == store.Compliance && have.Until.After(s.opts.Now()) {
		r.Mode = store.Compliance
	}
	return s.writeRetention(name, r)
}

// lockRecords holds off every other writer of retention records, in this process and in others, so that one that read an
// older record cannot shorten a newer. The kernel gives the lock back if its holder dies.
func (s *retentions) lockRecords() (unlock func(), err error) {
	if err := s.root.MkdirAll(private, 0o700); err != nil {
		return nil, err
	}
	f, err := s.root.OpenFile(recordLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = s.flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if lacking(err) || errors.Is(err, syscall.ENOLCK) {
		err = fmt.Errorf("%w: this file system keeps no file locks (flock), without which two writers of a vault could undo each other's work; "+
			"use another file system, or mount this one with locks: %w", store.ErrUnsupported, err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", recordLock, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// writeRetention replaces the record of name as one step.
func (s *retentions) writeRetention(name string, r store.Retention) error {
	data, err := json.Marshal(recorded{Mode: r.Mode, Until: r.Until})
	if err != nil {
		return err
	}
	f, tmp, err := s.createTemp()
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil && !s.opts.NoSync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.root.Remove(tmp))
	}
	to := path.Join(retentionDir, name)
	if err := s.makeParents(to); err != nil {
		return errors.Join(err, s.root.Remove(tmp))
	}
	if err := s.root.Rename(tmp, to); err != nil {
		return errors.Join(err, s.root.Remove(tmp))
	}
	return s.syncDir(path.Dir(to))
}
