package main

import (
	"context"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/holdfast-backup/holdfast/replicator/progress"
)

// bar draws how far something has come, with rate and time left. A nil bar draws nothing, so callers need not ask.
type bar struct {
	ui   *ui
	draw *progressbar.ProgressBar
}

// progress begins a bar, in bytes or in things; total < 0 where it is not known yet. There is one bar at a time: a new one
// ends the last.
func (u *ui) progress(label string, total int64, inBytes bool) *bar {
	if !u.terminal || u.quiet || u.json || u.noProgress {
		return nil
	}
	u.endProgress()
	options := []progressbar.Option{
		progressbar.OptionSetWriter(u.err),
		progressbar.OptionSetDescription(label),
		progressbar.OptionShowBytes(inBytes),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionShowElapsedTimeOnFinish(),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionSetWidth(24),
		progressbar.OptionClearOnFinish(),
	}
	if !inBytes {
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowIts())
	}
	b := &bar{ui: u, draw: progressbar.NewOptions64(total, options...)}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bar = b
	return b
}

// add moves the bar on by n bytes. That a terminal could not be drawn on is no failure of the command.
func (b *bar) add(n int64) {
	if b == nil {
		return
	}
	b.ui.mu.Lock()
	defer b.ui.mu.Unlock()
	if b.ui.bar == b {
		_ = b.draw.Add64(n)
	}
}

// expect sets the total once it is known, or grows it.
func (b *bar) expect(total int64) {
	if b == nil {
		return
	}
	b.ui.mu.Lock()
	defer b.ui.mu.Unlock()
	b.draw.ChangeMax64(total)
}

// endProgress takes the bar off the screen.
func (u *ui) endProgress() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wipe()
	u.bar = nil
}

// wipe clears the bar's line before something else is printed; the next add draws it again. u.mu is held.
func (u *ui) wipe() {
	if u.bar != nil {
		_ = u.bar.draw.Clear()
	}
}

// watch draws how far something has come until stop is called.
func (a *app) watch(ctx context.Context, label string, inBytes bool, c *progress.Count) (stop func()) {
	b := a.ui.progress(label, -1, inBytes)
	if b == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		var last int64
		for {
			select {
			case <-tick.C:
				done := c.Done.Load()
				if total := c.Total.Load(); total > 0 {
					b.expect(total)
				}
				b.add(done - last)
				last = done
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		a.ui.endProgress()
	}
}
