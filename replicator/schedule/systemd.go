package schedule

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Mark begins the first line of every file that is installed. Only files that begin so are ever replaced or removed.
const Mark = "# Written by `holdfast schedule`."

const (
	docs   = "https://github.com/holdfast-backup/holdfast/blob/main/docs/operations.md#timers"
	failed = "holdfast-failed@.service"
)

// delay is how far runs of many machines are spread, at most; retryAfter how long a failed run waits before it is tried again.
const (
	delay      = 10 * time.Minute
	retryAfter = 15 * time.Minute
	tries      = 4
)

// Systemd gives service and timer units.
func Systemd(s Setup) (Plan, error) {
	if err := s.check(); err != nil {
		return Plan{}, err
	}
	p := Plan{Notes: s.notes()}
	for _, j := range s.jobs() {
		p.Files = append(p.Files, File{j.name + ".service", s.service(j)}, File{j.name + ".timer", s.timer(j)})
	}
	p.Files = append(p.Files, File{failed, s.failed()})
	if len(s.folders(s.Sources)) > 0 {
		p.Notes = append(p.Notes, "directories are read with CAP_DAC_READ_SEARCH: the service can read every file that the unit does not hide, and write none of them")
	}
	if under(s.Program, homes...) || under(s.Program, temporary...) {
		p.Notes = append(p.Notes, fmt.Sprintf("the program is at %s: install it in /usr/local/bin, where nobody else can change it, or name it with --program", s.Program))
	}
	return p, nil
}

// unit collects the lines of a unit.
type unit struct{ strings.Builder }

func (u *unit) line(format string, args ...any) { fmt.Fprintf(u, format+"\n", args...) }

func (u *unit) head(name string) {
	u.line("%s Do not edit: change the configuration and install again, or use `systemctl edit %s`.", Mark, name)
}

func (s Setup) service(j job) string {
	var u unit
	u.head(j.name + ".service")
	u.line("[Unit]")
	u.line("Description=Holdfast: %s", j.says)
	u.line("Documentation=%s", docs)
	u.line("Wants=network-online.target")
	u.line("After=network-online.target time-sync.target")
	if folders := s.folders(slices.Concat(j.vaults, j.sources)); len(folders) > 0 {
		u.line("RequiresMountsFor=%s", words(folders))
	}
	u.line("OnFailure=holdfast-failed@%%n.service")
	again := j.watched && s.tryAgain()
	if again {
		u.line("# After %d starts within this time it stays failed, and that is told. To start it before: systemctl reset-failed %s", tries, j.name)
		u.line("StartLimitIntervalSec=%s", span(apart(j.whens)*5/6))
		u.line("StartLimitBurst=%d", tries)
	}
	u.line("")
	u.line("[Service]")
	if j.watched {
		u.line("Type=notify")
		u.line("NotifyAccess=main")
		if !slices.ContainsFunc(j.sources, func(p Place) bool { return p.Patient }) {
			u.line("WatchdogSec=%s", span(max(30*time.Minute, 2*s.Stall)))
		}
	} else {
		u.line("Type=oneshot")
		u.line("TimeoutStartSec=%s", j.limit)
	}
	u.line("ExecStart=%s", s.command(j))
	u.line("User=%s", s.User)
	if again {
		u.line("# 2 usage or key, 3 incomplete, 4 alarm, 5 damage: the same again would not help.")
		u.line("Restart=on-failure")
		u.line("RestartSec=%s", span(retryAfter))
		u.line("RestartPreventExitStatus=2 3 4 5")
	}
	u.line("# Stopped by hand or by a shutdown: what was stored is found by the next run.")
	u.line("SuccessExitStatus=143")
	u.line("TimeoutStopSec=2min")
	u.line("Nice=10")
	u.line("IOSchedulingPriority=7")
	s.secretLines(&u, s.secrets(j))
	s.storeLines(&u, j)
	s.protections(&u, j)
	return u.String()
}

// command is the command line of a job.
func (s Setup) command(j job) string {
	all := append([]string{s.Program}, j.args...)
	all = append(all, "--config", s.Config)
	for i, a := range all {
		all[i] = commandWord(a)
	}
	return strings.Join(all, " ")
}

// commandWord is one word of a command line, of which systemd would take a $ for a variable.
func commandWord(a string) string { return strings.ReplaceAll(word(a), "$", "$$") }

// secretLines have systemd hand over what only root can read.
func (s Setup) secretLines(u *unit, all []Secret) {
	for _, x := range all {
		if x.Kind == Credential {
			u.line("LoadCredential=%s:%s", x.Name, percent(s.Secrets+"/"+x.Name))
		}
	}
	if has(all, Environment) {
		u.line("EnvironmentFile=-%s", percent(s.environment())) // without it the program says what is missing
	}
}

// storeLines say where the program may write.
func (s Setup) storeLines(u *unit, j job) {
	cacheLines(u)
	var write []string
	if s.Cache != "" && !under(s.Cache, "/var/cache/holdfast") {
		write = append(write, s.Cache)
	}
	if j.writes {
		write = append(write, s.folders(j.vaults)...)
	}
	if s.Textfile != "" {
		write = append(write, path.Dir(s.Textfile))
	}
	if len(write) > 0 {
		u.line("ReadWritePaths=%s", words(write))
	}
}

// cacheLines give the program the cache folder that systemd makes.
func cacheLines(u *unit) {
	u.line("CacheDirectory=holdfast")
	u.line("CacheDirectoryMode=0700")
	u.line("Environment=XDG_CACHE_HOME=%%C")
}

var (
	homes     = []string{"/home", "/root", "/run/user"}
	temporary = []string{"/tmp", "/var/tmp"}
)

// protections close what a job has no need of. `systemd-analyze security` rates them; the tests hold it to 2.0.
func (s Setup) protections(u *unit, j job) {
	folders := s.folders(j.sources)
	seen := append(s.folders(slices.Concat(j.vaults, j.sources)), s.Program, s.Config)
	seen = append(seen, s.Lists...)
	if s.Cache != "" {
		seen = append(seen, s.Cache)
	}
	for _, x := range s.secrets(j) {
		if x.Kind == InFile {
			seen = append(seen, x.Name)
		}
	}
	home, own := "yes", "yes"
	for _, p := range seen {
		if touches(p, homes...) {
			home = "read-only"
		}
		if touches(p, temporary...) {
			own = "no"
		}
	}
	u.line("")
	u.line("NoNewPrivileges=yes")
	if len(folders) > 0 {
		u.line("# Files of all users are read. Nothing else of root's rights is there.")
		u.line("CapabilityBoundingSet=CAP_DAC_READ_SEARCH")
		u.line("AmbientCapabilities=CAP_DAC_READ_SEARCH")
	} else {
		u.line("CapabilityBoundingSet=")
		u.line("AmbientCapabilities=")
		u.line("PrivateUsers=yes")
	}
	u.line("ProtectHome=%s", home)
	u.line("PrivateTmp=%s", own)
	hardened(u, "AF_INET AF_INET6 AF_UNIX")
}

// hardened are the protections that every unit has.
func hardened(u *unit, families string) {
	u.line(`UMask=0077
LimitCORE=0
ProtectSystem=strict
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=%s
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM`, families)
}

func (s Setup) timer(j job) string {
	var u unit
	u.head(j.name + ".timer")
	u.line("[Unit]")
	u.line("Description=Holdfast: when to %s", j.says)
	u.line("Documentation=%s", docs)
	u.line("")
	u.line("[Timer]")
	for _, w := range j.whens {
		u.line("OnCalendar=%s", w.calendar())
	}
	spread, caught := delay, true
	if j.watched && s.Times.Window != (Window{}) {
		// What was missed while the machine was off would begin when it comes back, whenever that is.
		caught = false
		for _, w := range j.whens {
			spread = min(spread, s.Times.Window.left(w.At)-time.Minute)
		}
	}
	if spread > 0 {
		u.line("RandomizedDelaySec=%s", span(spread))
		u.line("FixedRandomDelay=yes")
	}
	u.line("AccuracySec=1s")
	u.line("Persistent=%s", yesNo(caught))
	u.line("")
	u.line("[Install]")
	u.line("WantedBy=timers.target")
	return u.String()
}

// tryAgain reports whether a failed run is begun again by systemd: not where the next one comes soon anyway, and not where
// it could begin outside of the window.
func (s Setup) tryAgain() bool {
	return s.Times.Window == (Window{}) && apart(s.Times.Run) >= 6*time.Hour
}

// failed is started, with the unit's name, when a unit failed. It has the program tell the receivers, which hears from systemd why the unit
// failed and says nothing where the command told them itself; where there are none it writes a line into the journal.
func (s Setup) failed() string {
	var u unit
	u.head(failed)
	u.line("[Unit]")
	u.line("Description=Holdfast: tell that %%i failed")
	u.line("Documentation=%s", docs)
	u.line("")
	u.line("[Service]")
	u.line("Type=oneshot")
	u.line("SyslogIdentifier=holdfast")
	if len(s.Receivers) > 0 {
		s.tellReceivers(&u)
	} else {
		u.line(`ExecStart=/bin/echo "%%i failed. See: journalctl -u %%i"`)
		u.line("DynamicUser=yes")
		u.line("SyslogLevel=err")
		u.line("PrivateNetwork=yes")
	}
	u.line("")
	u.line("CapabilityBoundingSet=")
	u.line("PrivateUsers=yes")
	own := !slices.ContainsFunc([]string{s.Program, s.Config, s.Cache}, func(p string) bool { return p != "" && touches(p, temporary...) })
	u.line("PrivateTmp=%s", yesNo(own))
	u.line("NoNewPrivileges=yes")
	if len(s.Receivers) > 0 {
		u.line("ProtectHome=read-only")
		hardened(&u, "AF_INET AF_INET6 AF_UNIX")
	} else {
		u.line("ProtectHome=yes")
		hardened(&u, "AF_UNIX")
	}
	return u.String()
}

func (s Setup) tellReceivers(u *unit) {
	u.line("ExecStart=%s notify failed %%i --config %s", commandWord(s.Program), commandWord(s.Config))
	u.line("TimeoutStartSec=1min")
	u.line("User=%s", s.User)
	s.secretLines(u, distinct(nil, s.Receivers))
	cacheLines(u)
	if s.Cache != "" && !under(s.Cache, "/var/cache/holdfast") {
		u.line("ReadWritePaths=%s", words([]string{s.Cache}))
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// span writes a time as systemd does, in the largest unit that gives a whole number.
func span(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dmin", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// folders are the directories among places.
func (s Setup) folders(places []Place) []string {
	var out []string
	for _, p := range places {
		if p.Folder != "" && !slices.Contains(out, p.Folder) {
			out = append(out, p.Folder)
		}
	}
	return out
}

// under reports whether a path is one of these folders, or lies in one.
func under(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return path == f || strings.HasPrefix(path, strings.TrimSuffix(f, "/")+"/")
	})
}

// touches reports whether a path lies in one of these folders, or one of them in it.
func touches(path string, folders ...string) bool {
	return under(path, folders...) || slices.ContainsFunc(folders, func(f string) bool { return under(f, path) })
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:,=+@~^-]+$`)

// percent keeps systemd from taking a % for the beginning of a specifier.
func percent(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// word writes one word of a list, or of a command line, so that systemd reads just that.
func word(s string) string {
	s = percent(s)
	if plainWord.MatchString(strings.ReplaceAll(s, "%", "")) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func words(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = word(s)
	}
	return strings.Join(out, " ")
}
