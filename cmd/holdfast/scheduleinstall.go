package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

// installing puts files where a scheduler looks for them, and takes them away.
type installing struct {
	*scheduling
	kind string
	by   scheduler
	dir  string
	only bool // the files only: they go elsewhere, and nothing is started
}

func (i *installing) install(ctx context.Context, s schedule.Setup, plan schedule.Plan) error {
	if !i.only {
		if err := i.ready(s, i.kind); err != nil {
			return err
		}
	}
	if err := i.folder(); err != nil {
		return i.explain(err)
	}
	before, err := schedule.Installed(i.dir, i.by.ours, schedule.Names(plan.Files)...)
	if err != nil {
		return i.explain(err)
	}
	old := slices.DeleteFunc(before, func(name string) bool { return slices.Contains(schedule.Names(plan.Files), name) })
	if err := i.stop(ctx, old); err != nil {
		return err
	}
	changes, err := schedule.Install(i.dir, plan.Files, i.by.ours)
	if err := errors.Join(i.tell(changes), i.explain(err)); err != nil {
		return err
	}
	for _, n := range plan.Notes {
		i.ui.remark("Note: %s.", n)
	}
	if i.kind != "systemd" {
		return nil
	}
	commands := [][]string{{"daemon-reload"}, append([]string{"enable", "--now"}, timers(schedule.Names(plan.Files))...)}
	if !i.running() {
		for _, c := range commands {
			i.ui.remark("Next: systemctl %s", strings.Join(c, " "))
		}
		return nil
	}
	for _, c := range commands {
		if err := systemctl(ctx, c...); err != nil {
			return err
		}
	}
	i.ui.remark("The timers are started: systemctl list-timers 'holdfast*' says when. Try it now: systemctl start --wait holdfast.service; journalctl -u holdfast.service")
	return nil
}

// folder makes the one that --dir names. The scheduler's own is never made: where there is none, there is no such scheduler.
func (i *installing) folder() error {
	if !i.only {
		return nil
	}
	var missing []string
	for dir := i.dir; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, dir)
	}
	// What is written is for others to read, whatever the umask is.
	for _, dir := range slices.Backward(missing) {
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

func (i *installing) remove(ctx context.Context) error {
	names, err := schedule.Installed(i.dir, i.by.ours)
	if errors.Is(err, fs.ErrNotExist) {
		names, err = nil, nil
	}
	if err != nil {
		return i.explain(err)
	}
	if err := i.stop(ctx, names); err != nil {
		return err
	}
	changes, err := schedule.Remove(i.dir, names)
	if err := errors.Join(i.tell(changes), i.explain(err)); err != nil {
		return err
	}
	if len(changes) == 0 {
		i.ui.remark("Nothing in %s was written by `holdfast schedule`.", i.dir)
		return nil
	}
	if i.kind != "systemd" {
		return nil
	}
	if !i.running() {
		i.ui.remark("Next: systemctl daemon-reload")
		return nil
	}
	return systemctl(ctx, "daemon-reload")
}

// stop has systemd forget the timers among units that are about to go. A run that is going on ends by itself.
func (i *installing) stop(ctx context.Context, names []string) error {
	old := timers(names)
	if i.kind != "systemd" || !i.running() || len(old) == 0 {
		return nil
	}
	return systemctl(ctx, append([]string{"disable", "--now"}, old...)...)
}

// running reports whether the systemd of this machine is to be told.
func (i *installing) running() bool {
	_, err := os.Stat("/run/systemd/system")
	return !i.only && err == nil
}

func timers(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasSuffix(n, ".timer") })
}

// explain says what to do about a folder that cannot be used.
func (i *installing) explain(err error) error {
	switch {
	case errors.Is(err, schedule.ErrForeign):
		return usage(err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run it as root, or write elsewhere with --dir", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; there is no %s on this machine; --dir writes the files elsewhere", err, i.kind)
	}
	return err
}

func (i *installing) tell(changes []schedule.Change) error {
	for _, c := range changes {
		if i.ui.json {
			name := c.Path[strings.LastIndexByte(c.Path, '/')+1:]
			if err := i.ui.object(scheduledJSON{Name: name, Path: c.Path, Action: c.Action}); err != nil {
				return err
			}
			continue
		}
		if err := i.ui.text(fmt.Sprintf("%-9s  %s", c.Action, c.Path)); err != nil {
			return err
		}
	}
	return nil
}

// systemctl has systemd do something. What it says is in the error.
func systemctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, safe(strings.TrimSpace(string(out))))
	}
	return nil
}
