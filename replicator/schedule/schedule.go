// Package schedule writes what runs holdfast by itself: systemd units, a crontab, Kubernetes manifests.
//
// It is given what a scheduler has to know of a configuration and gives texts. It reads no configuration, no key and no
// credential, starts nothing, and writes only where [Install] is told to. No text may hold a secret: secrets are named by
// the files they lie in. It never schedules what deletes: prune wants another machine and another credential.
package schedule

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrCannot: this configuration cannot be run in the way that was asked for. Its text says what to change.
var ErrCannot = errors.New("cannot be scheduled so")

// Setup is what a scheduler has to know of a configuration.
type Setup struct {
	Program string // absolute path
	Config  string // absolute path of the configuration
	Text    string // what stands in it; for Kubernetes
	User    string // who runs it; for systemd and cron
	Secrets string // absolute path of the folder with the files of [Credential] secrets
	Cache   string // absolute path; empty: the user's cache folder
	Times   Times
	Stall   time.Duration // how long a vault may give or take nothing
	Memory  int64         // bytes, limits.memory

	Host, Reporter  Secret // the two keys; a zero Reporter: no records
	Vaults, Sources []Place
	Receivers       []Place  // who is told what commands come to: what is connected to, and each secret that they need
	Lists           []string // absolute paths of files that the configuration takes patterns from
	Textfile        string   // absolute path of the file of metrics; empty: none

	Image, Namespace string // for Kubernetes; no namespace: kubectl's
}

// Place is a vault or a source.
type Place struct {
	Name    string
	Folder  string // absolute path of a directory; empty: it is on the network
	Locks   bool   // of vaults: it keeps locks
	Peers   []Peer // what is connected to
	Secret  Secret // its credentials; zero: none
	Patient bool   // of sources: it may wait for hours for something that shows no progress
}

// Peer is what is connected to.
type Peer struct {
	Host string // a name or an address; empty: not known
	Port int
}

// SecretKind is how a secret is named.
type SecretKind string

// The ways to name a secret; none for what has none.
const (
	NoSecret    SecretKind = ""
	InFile      SecretKind = "file"    // Name is an absolute path
	Credential  SecretKind = "systemd" // Name is that of a file in $CREDENTIALS_DIRECTORY
	Environment SecretKind = "env"     // Name is the beginning of variables' names
	Profile     SecretKind = "profile" // Name is a profile of the AWS shared files
	Ambient     SecretKind = "default" // what the AWS SDK finds by itself
)

// Secret is where a secret lies.
type Secret struct {
	Kind SecretKind
	Name string
}

// File is a text to be installed.
type File struct {
	Name string
	Text string
}

// Plan is what is to be installed.
type Plan struct {
	Files []File
	Notes []string // what a person has to know or do
}

// job is one thing to be run: a unit, a line, a CronJob.
type job struct {
	kind
	name    string // holdfast, holdfast-verify-offsite
	args    []string
	vaults  []Place
	sources []Place
	whens   []When
}

// kind is a line of the table.
type kind struct {
	command string
	says    string // what it does, for people
	when    func(Times) []When
	reads   bool                  // it reads the sources
	writes  bool                  // into vaults and the cache
	records bool                  // it makes records, where there is a reporter's key
	single  bool                  // a job for each vault, so that one that fails keeps no other from being done
	fits    func(Place) bool      // the vaults it is for; nil: all
	args    func(w When) []string // beside the command; nil: none
	names   bool                  // the vaults stand on the command line
	watched bool                  // it tells systemd how far it is
	limit   string                // how long it may take at most, where it is not watched
}

// table lists what can be scheduled. A new command is a line here, and a rhythm in [Times].
func table() []kind {
	locks := func(p Place) bool { return p.Locks }
	one := func(get func(Times) When) func(Times) []When {
		return func(t Times) []When { return []When{get(t)} }
	}
	return []kind{
		{command: "run", says: "copy the sources to the vaults", when: func(t Times) []When { return t.Run }, reads: true, writes: true, records: true, watched: true},
		{command: "renew", says: "lengthen locks that are too short", when: one(func(t Times) When { return t.Renew }), single: true, fits: locks, limit: "3d"},
		{command: "verify", says: "check the copy", when: one(func(t Times) When { return t.Verify }), writes: true, records: true, single: true, args: sample, limit: "7d"},
		{command: "drill", says: "attack the vaults as an exercise", when: one(func(t Times) When { return t.Drill }), writes: true, records: true, fits: locks, names: true, limit: "6h"},
		{command: "status", says: "say how the copy stands", when: one(func(t Times) When { return t.Status }), limit: "1h"},
	}
}

// sample has a fifth of the stored bytes read in a month, however often that is; locks and names are looked at in full.
func sample(w When) []string {
	share := "5%"
	switch w.Every {
	case Daily:
		share = "1%"
	case Monthly:
		share = "20%"
	}
	return []string{"--level", "bytes", "--sample", share}
}

// jobs are what this configuration lets be run.
func (s Setup) jobs() []job {
	var out []job
	for _, k := range table() {
		whens := slices.DeleteFunc(slices.Clone(k.when(s.Times)), func(w When) bool { return w.Every == Never })
		var vaults []Place
		for _, v := range s.Vaults {
			if k.fits == nil || k.fits(v) {
				vaults = append(vaults, v)
			}
		}
		if len(whens) == 0 || len(vaults) == 0 || k.reads && len(s.Sources) == 0 {
			continue
		}
		j := job{kind: k, name: "holdfast-" + k.command, args: []string{k.command}, vaults: vaults, whens: whens}
		if k.command == "run" {
			j.name = "holdfast"
		}
		if k.args != nil {
			j.args = append(j.args, k.args(whens[0])...)
		}
		if k.reads {
			j.sources = s.Sources
		}
		if !k.single {
			for _, v := range vaults {
				if k.names {
					j.args = append(j.args, v.Name)
				}
			}
			out = append(out, j)
			continue
		}
		for _, v := range vaults {
			one := j
			one.name, one.vaults = j.name+"-"+v.Name, []Place{v}
			one.args = append(slices.Clone(j.args), "--vault", v.Name)
			one.says = j.says + " in vault " + v.Name
			out = append(out, one)
		}
	}
	return out
}

// secrets are what a job needs, each once.
func (s Setup) secrets(j job) []Secret {
	all := []Secret{s.Host}
	if j.records {
		all = append(all, s.Reporter)
	}
	return distinct(all, j.vaults, j.sources, s.Receivers)
}

// distinct are these secrets and those of some places, each once.
func distinct(all []Secret, places ...[]Place) []Secret {
	for _, p := range slices.Concat(places...) {
		all = append(all, p.Secret)
	}
	var out []Secret
	for _, x := range all {
		if x.Kind != NoSecret && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// has reports whether one of the secrets is of a kind.
func has(all []Secret, k SecretKind) bool {
	return slices.ContainsFunc(all, func(x Secret) bool { return x.Kind == k })
}

// all are the secrets of all jobs.
func (s Setup) all() []Secret {
	var out []Secret
	for _, j := range s.jobs() {
		for _, x := range s.secrets(j) {
			if !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
	}
	return out
}

// Credentials are the files, in the folder Secrets, that the units hand to the program.
func (s Setup) Credentials() []string {
	var out []string
	for _, x := range s.all() {
		if x.Kind == Credential {
			out = append(out, path.Join(s.Secrets, x.Name))
		}
	}
	return out
}

// environment is the file with the variables of Environment secrets.
func (s Setup) environment() string { return path.Join(s.Secrets, "holdfast.env") }

// userForm is what a user's name may be.
var userForm = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

// credentialForm is what the name of a credential may be in a unit and in a Kubernetes Secret.
var credentialForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,250}$`) })

// check refuses what no text can say safely.
func (s Setup) check() error {
	if len(s.jobs()) == 0 {
		return fmt.Errorf("%w: nothing is left to be run: the configuration has no sources, or `schedule` says never to everything", ErrCannot)
	}
	if !userForm.MatchString(s.User) {
		return fmt.Errorf("%w: %q is no user's name: lower-case letters, digits, - and _", ErrCannot, clip(s.User))
	}
	paths := []string{s.Program, s.Config, s.Secrets, s.Cache, s.Textfile}
	paths = append(paths, s.Lists...)
	for _, p := range slices.Concat(s.Vaults, s.Sources) {
		paths = append(paths, p.Folder)
	}
	for _, x := range s.all() {
		switch x.Kind {
		case InFile:
			paths = append(paths, x.Name)
		case Credential:
			if !credentialForm().MatchString(x.Name) {
				return fmt.Errorf("%w: the credential systemd:%s: such a name takes letters, digits, `.`, `_` and `-` here", ErrCannot, clip(x.Name))
			}
		}
	}
	for _, p := range paths {
		if p != "" && !path.IsAbs(p) {
			return fmt.Errorf("%w: the path %q is not absolute", ErrCannot, clip(p))
		}
		if strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
			return fmt.Errorf("%w: the path %q has a control character, or is not UTF-8", ErrCannot, clip(p))
		}
	}
	return nil
}

// notes are what a person has to know of secrets, whatever runs the jobs.
func (s Setup) notes() []string {
	var out []string
	told := distinct(nil, s.Receivers)
	if has(told, Environment) {
		out = append(out, fmt.Sprintf("put the variables that `notify` names, a line each, into %s, of mode 0600", s.environment()))
	}
	for _, x := range s.all() {
		if x.Kind == Environment && !slices.Contains(told, x) {
			out = append(out, fmt.Sprintf("put %s_ACCESS_KEY_ID=.. and %s_SECRET_ACCESS_KEY=.., a line each, into %s, of mode 0600", x.Name, x.Name, s.environment()))
		}
	}
	return out
}
