package main

import (
	"errors"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// aside is where a command works that only wants to know what a run would do: with copies of what runs keep on this machine, so that
// it asks the vaults what a run would ask them, and the next run finds everything as it was.
type aside struct {
	folder string // the copy of the cache; empty: none was made yet
	kept   *cache.Kept
	drops  []func() error
}

// cacheOf gives the copy of the cache in dir. All sources of a command share it, as those of a run share the cache.
func (a *aside) cacheOf(dir string) (string, error) {
	if a.folder == "" {
		own, drop, err := cache.Copy(dir)
		if err != nil {
			return "", err
		}
		a.folder, a.drops = own, append(a.drops, drop)
	}
	return a.folder, nil
}

// keptOf gives the copy of what is kept of the vaults.
func (a *aside) keptOf(k *cache.Kept) (*cache.Kept, error) {
	if a.kept == nil && k != nil {
		own, drop, err := k.Copy()
		if err != nil {
			return nil, err
		}
		a.kept, a.drops = own, append(a.drops, drop)
	}
	return a.kept, nil
}

// drop removes the copies. A nil aside has none.
func (a *aside) drop() error {
	if a == nil {
		return nil
	}
	var errs []error
	for _, drop := range a.drops {
		errs = append(errs, drop())
	}
	return errors.Join(errs...)
}
