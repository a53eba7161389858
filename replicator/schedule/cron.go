package schedule

import (
	"fmt"
	"path"
	"strings"
)

// CronFile is the name of the crontab in /etc/cron.d: cron takes no name with a dot.
const CronFile = "holdfast"

// Cron gives a crontab for /etc/cron.d.
func Cron(s Setup) (Plan, error) {
	if err := s.check(); err != nil {
		return Plan{}, err
	}
	for _, p := range []string{s.Program, s.Config, s.Secrets} {
		if strings.ContainsAny(p, `\'"`) {
			return Plan{}, fmt.Errorf("%w: cron cannot be told the path %q: use one without quotes and backslashes", ErrCannot, clip(p))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s Do not edit: change the configuration and install again.\n", Mark)
	b.WriteString("# Cron mails what is printed, which is nothing where all is well. MAILTO is as this machine sets it.\n")
	b.WriteString("SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nXDG_CACHE_HOME=/var/cache\n")
	all := s.all()
	if has(all, Credential) {
		fmt.Fprintf(&b, "CREDENTIALS_DIRECTORY=\"%s\"\n", s.Secrets)
	}
	for _, j := range s.jobs() {
		fmt.Fprintf(&b, "\n# %s%s\n", strings.ToUpper(j.says[:1]), j.says[1:])
		for _, w := range j.whens {
			fmt.Fprintf(&b, "%s  %s  %s\n", w.cron(), s.User, s.shell(j))
		}
	}
	p := Plan{Files: []File{{CronFile, b.String()}}, Notes: s.notes()}
	p.Notes = append(p.Notes,
		fmt.Sprintf("%s has to own the folder /var/cache/holdfast: install -d -o %s -m 0700 /var/cache/holdfast", s.User, s.User),
		"cron does not catch up on what was missed while the machine was off, and tells of a failure by mail alone; systemd does better")
	if len(s.folders(s.Sources)) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s has to be able to read the directories: files it cannot read are missing, and the point is incomplete", s.User))
	}
	return p, nil
}

// shell is what a job is for the shell. Only a run prints nothing where all is well; of the others the output is kept back.
func (s Setup) shell(j job) string {
	command := []string{quoted(s.Program)}
	command = append(command, j.args...)
	command = append(command, "--quiet", "--config", quoted(s.Config))
	line := strings.Join(command, " ")
	if j.command != "run" {
		line = `said=$(` + line + ` 2>&1) || echo "$said"`
	}
	if has(s.secrets(j), Environment) {
		file := quoted(path.Clean(s.environment()))
		line = "[ ! -r " + file + " ] || { set -a; . " + file + "; set +a; }; " + line // without it the program says what is missing
	}
	return strings.ReplaceAll(line, "%", `\%`) // which cron would take for the end of the line
}

// quoted writes one word for the shell.
func quoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + s + "'"
}
