package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// takeTurn keeps a second run of this configuration from beginning before this one ends, sources in between included; the caller
// closes it. Where another run has the turn it is [cache.ErrBusy], or with wait the other's end is waited for. A run that was
// killed has no turn any more: the kernel ends its lock.
func takeTurn(ctx context.Context, j *job, wait bool, p *pulse) (io.Closer, error) {
	base, err := j.cacheBase(j.config)
	if err != nil {
		return nil, unusableCache(err)
	}
	path, err := filepath.EvalSymlinks(j.config.Path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(base, fmt.Sprintf("run-%.8x", sha256.Sum256([]byte(path))))
	if err := j.trusts.me().Folder(dir); err != nil {
		return nil, unusableCache(fmt.Errorf("cache: %w", err))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusableCache(err)
	}
	told := ""
	for {
		lock, err := cache.Lock(dir)
		var busy *cache.Busy
		switch {
		case err == nil:
			return lock, nil
		case !errors.As(err, &busy):
			return nil, unusableCache(err)
		case !wait:
			return nil, fmt.Errorf("%w, runs this configuration: wait for it, or give --wait", busy)
		}
		if who := busy.Who(); who != told {
			told = who
			j.ui.remark("Waiting for the run of %s.", who)
			p.waits(who)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the run of %s: %w", told, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}
