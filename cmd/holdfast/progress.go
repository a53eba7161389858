package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar draws how far something has come, with rate and time left. A nil bar draws nothing, so callers need not ask.
type bar struct {
	ui   *ui
	draw *progressbar.ProgressBar
}

// progress begins a bar in bytes; total < 0 where it is not known yet. There is one bar at a time: a new one ends the last.
func (u *ui) progress(label string, total int64) *bar {
	if !u.terminal || u.quiet || u.json || u.noProgress {
		return nil
	}
	u.endProgress()
	b := &bar{ui: u, draw: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(u.err),
		progressbar.OptionSetDescription(label),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionShowElapsedTimeOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(24),
		progressbar.OptionClearOnFinish(),
	)}
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
