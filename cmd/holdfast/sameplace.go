package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// One place has many names: localhost and 127.0.0.1, a bind mount, a link, a host with a dot at its end. So whether two are
// the same is told by what is there, beside what their URLs say. Nothing is written for that: a vault is known by its first
// descriptor, whose name nobody else's has, and a folder by its device and number.

// errSamePlace: what must be apart is not.
var errSamePlace = errors.New("one place for the copy and what it is a copy of")

// askFor bounds how long a place that does not answer is waited for here; whoever works with it says what is wrong.
const askFor = 20 * time.Second

// holdsVault reports whether the bucket of a place, asked with that place's own credentials, is the one that holds the vault's
// descriptor. A place that gives no answer, or may not be asked, is not known to.
func holdsVault(ctx context.Context, at, vault location.Location, get store.CredentialsFunc, descriptor string) bool {
	if at.Kind != vault.Kind || get == nil || !at.PrefixesOverlap(vault) {
		return false
	}
	at.S3.Prefix = vault.S3.Prefix
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return hasObject(ctx, at, get, descriptor)
}

// folderIn reports whether a folder, or what there is of the way to it, is another one or lies in it, or is a part of it that
// was mounted elsewhere.
func folderIn(path, of string) bool {
	root, err := os.Stat(of)
	if err != nil {
		return false
	}
	parts := []os.FileInfo{root}
	entries, err := os.ReadDir(of)
	if err == nil && len(entries) <= 1024 { // a vault has about ten
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.IsDir() {
				parts = append(parts, info)
			}
		}
	}
	for p := path; ; p = filepath.Dir(p) {
		if info, err := os.Stat(p); err == nil && slices.ContainsFunc(parts, func(x os.FileInfo) bool { return os.SameFile(info, x) }) {
			return true
		}
		if p == filepath.Dir(p) {
			return false
		}
	}
}

// foldersOverlap reports whether one of two folders is the other or lies in it, whatever they are called.
func foldersOverlap(a, b location.Location) bool {
	return a.Local() && b.Local() && (folderIn(a.Path, b.Path) || folderIn(b.Path, a.Path))
}

// apart refuses a source that is, holds or lies in one of its vaults.
func (j *job) apart(ctx context.Context, s config.Source, get store.CredentialsFunc, r *repo.Repository) error {
	for _, v := range j.vaults {
		if !slices.Contains(s.Vaults, v.name) {
			continue
		}
		if foldersOverlap(s.URL, v.url) || holdsVault(ctx, s.URL, v.url, get, r.Chain[0].Name) {
			return &marked{errSamePlace, fmt.Errorf("source %s is, holds or lies in the vault %s, whatever their URLs say: a copy beside what it copies protects nothing; name another place", s.Name, v.name)}
		}
	}
	return nil
}

// twins refuses two vaults that are one: their first descriptor is one version of one object, or one folder.
func (j *job) twins(ctx context.Context, r *repo.Repository) error {
	seen := map[string]string{}
	for i, v := range j.vaults {
		for _, o := range j.vaults[:i] {
			if foldersOverlap(v.url, o.url) {
				return sameVaults(o.name, v.name)
			}
		}
		if v.url.Local() || len(j.vaults) < 2 {
			continue
		}
		in, cancel := context.WithTimeout(ctx, askFor)
		info, _, err := v.Reader.Stat(in, store.Ref{Name: r.Chain[0].Name})
		cancel()
		if err != nil || info.Version == "" {
			continue
		}
		key := fmt.Sprintf("%s %s", info.Version, info.Modified.UTC().Format(time.RFC3339))
		if other, ok := seen[key]; ok {
			return sameVaults(other, v.name)
		}
		seen[key] = v.name
	}
	return ctx.Err()
}

func sameVaults(a, b string) error {
	return &marked{errSamePlace, fmt.Errorf("vaults %s and %s are the same place, whatever their URLs say; a second copy needs another", a, b)}
}
