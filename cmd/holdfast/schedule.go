package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

const scheduleHelp = `Print what runs holdfast by itself: run, renew, verify, drill and status, as far as the configuration lets them be run.

  systemd     service and timer units: a user of its own, strict protections, restart, watchdog; a failure is told by
              holdfast-failed@.service
  cron        a crontab for /etc/cron.d
  kubernetes  CronJobs, with the configuration, a volume for the cache and network policies:
              holdfast schedule kubernetes | kubectl apply -f -

Each file stands behind a line '# NAME'. --install writes the files and starts the timers; a second time it replaces what has
changed, and removes what is not needed any more. --remove undoes it. Only files that this command wrote are ever replaced or
removed. When what is run stands under 'schedule' in the configuration. prune is never scheduled: it belongs on another machine,
with another credential.

Keys and credentials that the configuration names as systemd:NAME are the files NAME in the folder of the configuration, or in
--secrets DIR. systemd hands them to the program, so that only root need be able to read them; for cron that folder is
$CREDENTIALS_DIRECTORY, and for Kubernetes they are keys of a Secret.

Exit codes: 0 done; 1 a file cannot be written, or systemctl failed; 2 a wrong command line or configuration, or a file in the
way that this command did not write.`

// scheduling prints and installs what runs the program by itself.
type scheduling struct{ *app }

// scheduleFlags are what schedule is told on the command line.
type scheduleFlags struct {
	install, remove             bool
	dir, program, user, secrets string
	image, namespace            string
}

// scheduledJSON is one file, for scripts.
type scheduledJSON struct {
	Name   string          `json:"name"`
	Path   string          `json:"path,omitempty"`
	Action schedule.Action `json:"action"` // printed, written, unchanged, removed
	Text   string          `json:"text,omitempty"`
}

const printed schedule.Action = "printed"

// scheduler is one of the things that run programs.
type scheduler struct {
	make func(schedule.Setup) (schedule.Plan, error)
	dir  string // where its files go; empty: nothing is installed here
	ours func(name string) bool
	head func(name string) string // the line before a file
}

func schedulers() map[string]scheduler {
	plain := func(name string) string { return "# " + name }
	return map[string]scheduler{
		"systemd":    {schedule.Systemd, "/etc/systemd/system", schedule.IsUnit, plain},
		"cron":       {schedule.Cron, "/etc/cron.d", schedule.IsCrontab, func(name string) string { return "# " + name + ".crontab" }},
		"kubernetes": {schedule.Kubernetes, "", nil, plain},
	}
}

func (a *scheduling) command() *cobra.Command {
	var f scheduleFlags
	kinds := []string{"systemd", "cron", "kubernetes"}
	cmd := &cobra.Command{
		Use:       "schedule systemd|cron|kubernetes",
		Short:     "Print or install what runs holdfast by itself",
		Long:      scheduleHelp,
		ValidArgs: kinds,
		Args:      takes(1, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if !slices.Contains(kinds, args[0]) {
				return usage(fmt.Errorf("%q is no scheduler; there are %s", safe(args[0]), strings.Join(kinds, ", ")))
			}
			return a.schedule(ctx, args[0], f)
		}),
	}
	s := cmd.Flags()
	s.BoolVar(&f.install, "install", false, "write the files, and start the timers")
	s.BoolVar(&f.remove, "remove", false, "stop the timers, and remove the files")
	s.StringVar(&f.dir, "dir", "", "write to `DIR` instead of the scheduler's own folder, and start nothing")
	s.StringVar(&f.program, "program", "", "the program to be run: a `FILE` (default this one)")
	s.StringVar(&f.user, "user", "holdfast", "the `USER` to run it as (systemd, cron)")
	s.StringVar(&f.secrets, "secrets", "", "where the files of systemd:NAME lie: a `DIR` (default the configuration's folder)")
	s.StringVar(&f.image, "image", "holdfast:latest", "the `IMAGE` that has the program (kubernetes)")
	s.StringVar(&f.namespace, "namespace", "", "the `NAMESPACE` (kubernetes; default kubectl's)")
	return cmd
}

func (a *scheduling) schedule(ctx context.Context, kind string, f scheduleFlags) error {
	by := schedulers()[kind]
	switch {
	case f.install && f.remove:
		return usage(errors.New("--install and --remove undo each other; give one"))
	case by.dir == "" && f.install:
		return usage(fmt.Errorf("nothing is installed on this machine for %s; run: holdfast schedule %s | kubectl apply -f -", kind, kind))
	case by.dir == "" && f.remove:
		return usage(fmt.Errorf("nothing is installed on this machine for %s; run: holdfast schedule %s | kubectl delete -f -", kind, kind))
	case f.dir != "" && !f.install && !f.remove:
		return usage(errors.New("--dir goes with --install or --remove; without them the files are printed"))
	}
	dir, err := filepath.Abs(cmp.Or(f.dir, by.dir))
	if err != nil {
		return err
	}
	turn := &installing{scheduling: a, kind: kind, by: by, dir: dir, only: f.dir != ""}
	if f.remove {
		return turn.remove(ctx)
	}
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	setup, err := a.setup(c, kind, f)
	if err != nil {
		return err
	}
	plan, err := by.make(setup)
	if errors.Is(err, schedule.ErrCannot) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	if slices.Contains(c.Schedule.Named, "report") {
		plan.Notes = append(plan.Notes, "schedule.report: this version makes no unit for it; call `holdfast report --out DIR` from a timer of your own")
	}
	if kind != "kubernetes" {
		plan.Notes = append(plan.Notes, absent(setup.Program)...)
	}
	if f.install {
		return turn.install(ctx, setup, plan)
	}
	return a.print(by, plan)
}

func (a *scheduling) print(by scheduler, plan schedule.Plan) error {
	for _, file := range plan.Files {
		if a.ui.json {
			if err := a.ui.object(scheduledJSON{Name: file.Name, Action: printed, Text: file.Text}); err != nil {
				return err
			}
			continue
		}
		if err := a.ui.text(by.head(file.Name) + "\n" + strings.TrimSuffix(file.Text, "\n")); err != nil {
			return err
		}
	}
	for _, n := range plan.Notes {
		a.ui.remark("Note: %s.", n)
	}
	return nil
}

// setup is what a scheduler has to know of the configuration.
func (a *scheduling) setup(c *config.Config, kind string, f scheduleFlags) (schedule.Setup, error) {
	dir := filepath.Dir(c.Path)
	s := schedule.Setup{
		Config: c.Path, User: f.user, Cache: c.Cache, Times: c.Schedule.Times, Stall: c.Stall, Memory: c.Limits.Memory,
		Host: keySecret(c.Keys.Host), Reporter: keySecret(c.Keys.Reporter), Image: f.image, Namespace: f.namespace, Secrets: dir,
	}
	var err error
	if f.secrets != "" {
		if s.Secrets, err = filepath.Abs(f.secrets); err != nil {
			return s, err
		}
	}
	if s.Program, err = program(f.program); err != nil {
		return s, err
	}
	if kind == "kubernetes" {
		if f.program == "" {
			s.Program = "/usr/local/bin/holdfast" // in the image
		}
		text, err := os.ReadFile(c.Path)
		if err != nil {
			return s, err
		}
		s.Text = string(text)
	}
	for _, v := range c.Vaults {
		s.Vaults = append(s.Vaults, schedulePlace(v.Name, v.URL, v.Credentials, dir))
	}
	for _, x := range c.Sources {
		s.Sources = append(s.Sources, schedulePlace(x.Name, x.URL, x.Credentials, dir))
		if x.ExcludeFrom != "" && !slices.Contains(s.Lists, x.ExcludeFrom) {
			s.Lists = append(s.Lists, x.ExcludeFrom)
		}
	}
	for i := range c.Notify {
		s.Receivers = append(s.Receivers, scheduleReceiver(&c.Notify[i], dir)...)
	}
	s.Textfile = c.Metrics.Textfile
	return s, nil
}

// program is the absolute path of the program to be run.
func program(flag string) (string, error) {
	if flag == "" {
		return os.Executable()
	}
	path, err := filepath.Abs(flag)
	if err != nil {
		return "", err
	}
	return path, nil
}

// absent says that a program is not there, or is none: what is printed may be for another machine.
func absent(program string) []string {
	info, err := os.Stat(program)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []string{"there is no program " + program + " on this machine; --program names another"}
	case err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0):
		return []string{program + " is no program that can be started; --program names another"}
	}
	return nil
}

// keySecret is where a key's file lies.
func keySecret(path string) schedule.Secret {
	if name, ok := strings.CutPrefix(path, "systemd:"); ok {
		return schedule.Secret{Kind: schedule.Credential, Name: name}
	}
	if path == "" {
		return schedule.Secret{}
	}
	return schedule.Secret{Kind: schedule.InFile, Name: path}
}

// schedulePlace is what a scheduler has to know of a vault or a source.
func schedulePlace(name string, at location.Location, ref credentials.Ref, dir string) schedule.Place {
	p := schedule.Place{Name: name, Locks: at.Locks(), Peers: peers(at)}
	if at.Local() {
		p.Folder = filepath.Clean(at.Path)
		return p
	}
	if at.Program() {
		p.Patient = true // it may think for long before it writes
		return p
	}
	p.Secret = namedSecret(ref.String(), dir)
	p.Patient = at.AWS != nil && len(at.AWS.Instances) > 0 // new snapshots are waited for
	return p
}

// namedSecret is where a secret lies that is named as KIND:REST.
func namedSecret(ref, dir string) schedule.Secret {
	kind, rest, _ := strings.Cut(ref, ":")
	secret := schedule.Secret{Kind: schedule.SecretKind(kind), Name: rest}
	if secret.Kind == schedule.InFile {
		path, _, _ := strings.Cut(rest, "#")
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		secret.Name = path
	}
	return secret
}

// scheduleReceiver is what a scheduler has to know of one that is told what commands come to: a place for each of its secrets.
func scheduleReceiver(r *config.Receiver, dir string) []schedule.Place {
	first := schedule.Place{Name: string(r.Kind)}
	switch {
	case r.Host != "":
		first.Peers = []schedule.Peer{{Host: r.Host, Port: r.Port}}
	case r.URL != "":
		first.Peers = peersOf(r.URL)
	default:
		first.Peers = []schedule.Peer{{Port: 443}} // the URL is a secret, and most likely the usual port
	}
	out := []schedule.Place{first}
	for _, secret := range []credentials.Secret{r.URLIn, r.Secret, r.Credentials} {
		if !secret.IsZero() {
			out = append(out, schedule.Place{Name: string(r.Kind), Secret: namedSecret(secret.String(), dir)})
		}
	}
	return out
}

// peers are what is connected to for a place.
func peers(at location.Location) []schedule.Peer {
	endpoint := at.S3.Endpoint
	switch {
	case !at.Keyed():
		return nil
	case at.AWS != nil:
		endpoint = at.AWS.Endpoint
	}
	if endpoint == "" {
		return []schedule.Peer{{Host: "amazonaws.com", Port: 443}}
	}
	return peersOf(endpoint)
}

// peersOf is what is connected to for a URL.
func peersOf(endpoint string) []schedule.Peer {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil // the configuration was read: it is one
	}
	port, err := strconv.Atoi(u.Port())
	switch {
	case err == nil:
	case u.Scheme == "http":
		port = 80
	default:
		port = 443
	}
	return []schedule.Peer{{Host: u.Hostname(), Port: port}}
}

// ready refuses to install what could not be run, and credentials that somebody else could point at what only root can read.
func (a *scheduling) ready(s schedule.Setup, kind string) error {
	var all together
	if _, err := user.Lookup(s.User); errors.As(err, new(user.UnknownUserError)) {
		all = append(all, fmt.Errorf("there is no user %s; make it with: useradd --system --home-dir %s --shell /usr/sbin/nologin %s, or name another with --user",
			s.User, filepath.Dir(s.Config), s.User))
	}
	for _, path := range append(s.Credentials(), s.Program) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			all = append(all, fmt.Errorf("there is no file %s, which the units name; put it there, or say with --secrets or --program where it is", path))
		}
	}
	if kind == "systemd" {
		for _, path := range s.Credentials() {
			if err := a.trusts.me().File(path); err != nil {
				all = append(all, fmt.Errorf("systemd would read it as root: %w", err))
			}
		}
	}
	return usage(all.orNil())
}
