// Package config reads holdfast.yaml: strictly, and with file, line and column for whatever is wrong.
//
// It looks at the file and nothing else: it opens no vault, reads no key and no credential. What stands in the file is
// public; a file with a secret in it is refused, and no message repeats one.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
	"github.com/holdfast-backup/holdfast/store"
)

// Config is a whole, checked configuration.
type Config struct {
	Path     string   // the file it was read from
	Warnings []string // what is allowed and unwise, a line each

	Vaults    []Vault
	Keys      Keys
	Sources   []Source
	Retention retain.Policy // what sources have that name none
	Limits    Limits
	// Fingerprint pins the repository: 32 to 64 hexadecimal digits; empty: as the host key's file says.
	Fingerprint string
	Stall       time.Duration // progress.stall: how long a vault may give or take nothing
	Reports     Reports
	Targets     Targets
	VerifyEvery retain.Span // verify.every: within what time all stored bytes have to be read again; zero: nothing is asked for
	Schedule    Schedule
	Notify      []Receiver
	Metrics     Metrics
	Guard       Guard
	HoldCeiling retain.Span // how far ahead `holdfast hold` may lock, where that is more than a vault's lock.ceiling; zero: no further than that
	Budget      Budget
	Watch       Watch
	Unprotected []Accepted
	Hooks       Hooks             // around a whole run
	Custody     map[string]string // who or what keeps a key, by the key's name: restore-1
	Prices      string            // absolute: a file of price tables that come before those that ship; empty: none
	Cache       string            // absolute; empty: the user's cache folder
}

// Reports is how records are kept.
type Reports struct {
	Keep retain.Span // the least time a record is locked
}

// Guard is what the guard of a run goes by.
type Guard struct {
	Hold    retain.Span // how long the last clean point is held once an alarm stands; zero: not longer
	KMSKeys []string    // keys of the vendor's key management that are the owner's, by ARN or ID; none: those that were seen before
}

// Targets are what the copy is held against. Zero: nothing was asked for.
type Targets struct {
	RPO retain.Span // how old a source's newest complete point may be
	RTO retain.Span // how long a restore may take
}

// Schedule is when what is run by itself.
type Schedule struct {
	schedule.Times
	Named []string // the keys that the file has
}

// Budget is what a run is refused beyond, before it stores anything. Zero: no limit.
type Budget struct {
	Run   int64 // bytes that one run may store in a vault
	Month Money // what the vaults may cost a month, the run included
}

// Money is an amount of a currency; the zero value is none.
type Money struct {
	Amount   float64
	Currency string // three capital letters
}

// IsZero reports whether there is none.
func (m Money) IsZero() bool { return m.Currency == "" }

// Vault is a place that keeps the copy.
type Vault struct {
	Name        string
	URL         location.Location
	Credentials credentials.Ref // zero for a directory
	Lock        Lock
}

// Lock is how a vault locks what it is given.
type Lock struct {
	Mode    store.Mode  // ModeNone for a directory
	Slack   retain.Span // locked longer than needed by this, so that renewal is rare
	Ceiling retain.Span // the longest lock ever asked for
}

// DefaultLock is the locking of a vault whose configuration says nothing about it, but for the mode.
func DefaultLock() Lock { return Lock{Slack: days(10), Ceiling: days(400)} }

// Keys are the repository's public restore keys, and where the host key lies.
type Keys struct {
	Recipients []keys.Recipient
	Owners     []keys.Owner // that sign changes of keys; none: the host key does
	Host       string       // an absolute path, or systemd:NAME
	Reporter   string       // the same of the key that signs records; empty: none, and no records
}

// Source is what is protected.
type Source struct {
	Name          string
	URL           location.Location
	Credentials   credentials.Ref // zero for a directory
	AllVersions   bool            // versions: all
	Exclude       []string        // globs, checked
	ExcludeFrom   string          // absolute: a file with more of them; empty: none
	Listed        []string        // those in that file
	Tags          Tags
	Archived      Archived
	Unsettled     Unsettled
	OneFileSystem bool     // directories: what is mounted below is left out
	Vaults        []string // names; never empty

	// Ways of vendors, of buckets only. Absent: found out by the source itself.
	ETag          string // "md5" or "opaque"
	IfMatch       *bool
	RequesterPays *bool

	Hooks Hooks // around this source

	// Of what a program writes only.
	Command []string // the program and its arguments
	Entry   string   // the name that it has in the points
	Timeout time.Duration

	Retention retain.Policy
	Before    retain.Policy // what the same text meant to earlier builds, in which a span that was not named kept its default
}

// Excluded are the globs of what is left out: those in the configuration, and those in the file that it names.
func (s Source) Excluded() []string { return slices.Concat(s.Exclude, s.Listed) }

// Tags is when the tags of unchanged objects are read again.
type Tags struct {
	Never  bool
	MaxAge retain.Span // zero with Never unset: always
}

// Archived is what an object in an archive storage class means.
type Archived string

const (
	ArchivedRecord Archived = "record" // it is listed as missing and the point is complete
	ArchivedFail   Archived = "fail"   // the point is incomplete
)

// Unsettled is what becomes of a file that others write to while it is read.
type Unsettled string

const (
	UnsettledStore   Unsettled = "store"   // what was read is kept and marked, and the point is complete
	UnsettledMissing Unsettled = "missing" // the point is incomplete
)

// Limits bound what a run takes.
type Limits struct {
	Memory      int64 // bytes
	Upload      int64 // bytes a second; 0: no limit
	Download    int64 // bytes a second; 0: no limit
	Connections int
}

// ErrNone: no configuration file where one is looked for.
var ErrNone = errors.New("no configuration file")

// System is where a machine's configuration lies.
const System = "/etc/holdfast"

// Find gives the file to read: flag if it is set, else the first that exists of ./holdfast.yaml,
// $XDG_CONFIG_HOME/holdfast/holdfast.yaml and holdfast.yaml in system, which is System but for tests: these must not depend
// on what is set up on the machine they run on.
func Find(flag string, env credentials.Env, system string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	places := searched(env, system)
	for _, p := range places {
		// A file that is there and cannot be read is not passed over for another one's settings.
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: looked for %s; write one, or name it with --config FILE", ErrNone, strings.Join(places, ", "))
}

func searched(env credentials.Env, system string) []string {
	places := []string{"holdfast.yaml"}
	dir, _ := env("XDG_CONFIG_HOME")
	if home, _ := env("HOME"); !filepath.IsAbs(dir) && home != "" {
		dir = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(dir) {
		places = append(places, filepath.Join(dir, "holdfast", "holdfast.yaml"))
	}
	return append(places, filepath.Join(system, "holdfast.yaml"))
}

// Load reads and checks the file at path.
func Load(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	text, err := os.ReadFile(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s; write one there, or name another with --config FILE", ErrNone, path)
	}
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return nil, newError([]Problem{{File: path, Message: fmt.Sprintf("cannot be read: %v; name a file that this user can read with --config FILE", err)}})
	}
	return parse(path, abs, bytes.TrimPrefix(text, []byte("\ufeff"))) // the mark that some editors leave
}

// parse reads a configuration's text. name stands in messages; relative paths are relative to the folder of abs.
func parse(name, abs string, text []byte) (*Config, error) {
	d := &decoder{file: name}
	body := d.parse(text)
	if body == nil {
		if len(d.problems) == 0 {
			d.problem(nil, "the file is empty; it needs vaults and keys")
		}
		return nil, newError(d.problems)
	}
	if findSecrets(d, body); len(d.problems) > 0 {
		return nil, newError(d.problems)
	}
	r := reader{decoder: d, config: &Config{Path: abs}, dir: filepath.Dir(abs)}
	r.read(body)
	if len(d.problems) > 0 {
		return nil, newError(d.problems)
	}
	return r.config, nil
}

// Vault gives the vault of a name, and false if there is none.
func (c *Config) Vault(name string) (Vault, bool) {
	for _, v := range c.Vaults {
		if v.Name == name {
			return v, true
		}
	}
	return Vault{}, false
}

// Source gives the source of a name, and false if there is none.
func (c *Config) Source(name string) (Source, bool) {
	for _, s := range c.Sources {
		if s.Name == name {
			return s, true
		}
	}
	return Source{}, false
}

// HostKeyPath is the file the host key lies in.
func (c *Config) HostKeyPath(env credentials.Env) (string, error) {
	return c.keyPath(env, "keys.host", c.Keys.Host)
}

// WritableHostKeyPath is HostKeyPath for a command that writes the host key. What is written into a folder of systemd's own is gone
// when the unit ends, so that there it is refused; the folder that systemd is given the credentials from is as good as any.
func (c *Config) WritableHostKeyPath(env credentials.Env) (string, error) {
	path, err := c.HostKeyPath(env)
	if err == nil && strings.HasPrefix(c.Keys.Host, "systemd:") && strings.HasPrefix(filepath.ToSlash(filepath.Clean(path)), "/run/") {
		return "", fmt.Errorf("keys.host is %s, and what is written to systemd's %s is gone when the unit ends; run the command by hand: sudo env CREDENTIALS_DIRECTORY=%s holdfast COMMAND",
			c.Keys.Host, filepath.Dir(path), filepath.Dir(c.Path))
	}
	return path, err
}

// ReporterKeyPath is the file the reporter's key lies in; empty where none is configured.
func (c *Config) ReporterKeyPath(env credentials.Env) (string, error) {
	return c.keyPath(env, "keys.reporter", c.Keys.Reporter)
}

func (c *Config) keyPath(env credentials.Env, what, path string) (string, error) {
	name, ok := strings.CutPrefix(path, "systemd:")
	if !ok {
		return path, nil
	}
	dir, _ := env("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("%s is %s, which needs $CREDENTIALS_DIRECTORY; systemd sets it for a unit with LoadCredential=%s:PATH; by hand it is the folder of that file: sudo env CREDENTIALS_DIRECTORY=%s holdfast COMMAND",
			what, path, name, filepath.Dir(c.Path))
	}
	return filepath.Join(dir, name), nil
}
