package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/process"
)

const configCheckHelp = `Read the configuration, print what it says with all defaults, and check without a network what
can be checked: the file itself; that key files, credentials and folders are there and nobody
else's; that keys fit together; that no vault shares a source's access key or place; that secrets
of receivers, price tables and the folder of metrics are there.

--file-only leaves out what is of this machine (keys, credentials, folders): for a check before
the file is installed. 'holdfast doctor' tries the vaults themselves.

Exit codes: 0 it can be used, warnings may be listed; 2 it cannot, and why is listed.`

// configCheck is one look at a configuration.
type configCheck struct {
	*app
	c        *config.Config
	fileOnly bool // what is of this machine is left out

	problems []error  // what stops commands, or what they have to say from getting anywhere
	warnings []string // what is allowed and unwise
	notes    []string // what is not there yet, and who makes it
}

func (a *careCommands) configCommand() *cobra.Command {
	var fileOnly bool
	check := &cobra.Command{
		Use:               "check",
		Short:             "Check the configuration without a network, and print what it says",
		Long:              configCheckHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.action(func(ctx context.Context, _ []string) error { return a.checkConfig(ctx, fileOnly) }),
	}
	check.Flags().BoolVar(&fileOnly, "file-only", false, "check what stands in the file, not keys, credentials and folders of this machine")
	return a.group("config", "Look at the configuration", check)
}

func (a *careCommands) checkConfig(ctx context.Context, fileOnly bool) error {
	path, err := config.Find(a.configFile, a.env, a.system)
	if err != nil {
		return err
	}
	if err := a.trusts.trustedConfig(path); err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	k := &configCheck{app: a.app, c: c, fileOnly: fileOnly, warnings: c.Warnings}
	k.unwise()
	if !fileOnly {
		k.keys()
		for _, v := range c.Vaults {
			k.credentials(ctx, "vault "+v.Name, v.URL, v.Credentials)
			k.vaultFolder(v)
		}
		for _, s := range c.Sources {
			k.credentials(ctx, "source "+s.Name, s.URL, s.Credentials)
			k.sourceFolder(s)
		}
		if err := trustedLists(a.trusts, c); err != nil {
			k.problem("", err)
		}
		k.programs()
		k.apart(ctx)
		k.unattended()
		if _, err := a.cacheBase(c); err != nil {
			k.problem("", err)
		}
	}
	return k.report()
}

func (k *configCheck) problem(about string, err error) {
	if about != "" {
		err = fmt.Errorf("%s: %w", about, err)
	}
	k.problems = append(k.problems, err)
}

// unwise lists what is allowed and seldom meant.
func (k *configCheck) unwise() {
	if len(k.c.Keys.Owners) == 0 {
		k.warnings = append(k.warnings, "keys.owners names no owner keys: whoever steals this machine can change the repository's keys; `holdfast keygen` prints one beside each recipient")
	}
	if len(k.c.Keys.Recipients) == 1 {
		k.warnings = append(k.warnings, "keys.recipients names one restore key: if that is lost, so is the copy; two in two places are better")
	}
	if len(k.c.Sources) == 0 {
		k.warnings = append(k.warnings, "there are no sources: a run has nothing to do")
	}
	locks := false
	for _, v := range k.c.Vaults {
		locks = locks || v.URL.Locks()
	}
	k.warnings = append(k.warnings, strayCustody(k.c)...)
	if !locks {
		k.warnings = append(k.warnings, "all vaults are directories, which cannot lock: nothing keeps the copy from being deleted")
	}
}

// keys looks at the key files of this machine.
func (k *configCheck) keys() {
	path, err := k.c.HostKeyPath(k.env)
	if err != nil {
		k.problem("", err)
	} else if h, err := k.trusts.readHostKeyFile(path); errors.Is(err, fs.ErrNotExist) {
		k.notes = append(k.notes, "there is no host key at "+path+" yet: `holdfast init` makes one for a new repository, `holdfast key recover` gets a lost one back")
	} else if err != nil {
		k.problem("keys.host", err)
	} else {
		k.hostKey(h)
	}
	if _, err := (&job{app: k.app, config: k.c}).reporterKey(); err != nil {
		k.problem("keys.reporter", err)
	}
}

// hostKey holds the host key against the rest of the configuration.
func (k *configCheck) hostKey(h *keys.HostKey) {
	if r := k.c.Keys.Recipients; h.Metadata.Class() != r[0].Class() {
		k.problem("", &marked{keys.ErrMixedClasses, fmt.Errorf("keys.host is of class %s and keys.recipients of class %s: one repository has one class", h.Metadata.Class(), r[0].Class())})
	}
	if _, err := k.trusts.knownRepository(k.c, ""); err != nil {
		k.problem("", err)
	}
}

// credentials looks whether what is named is there.
func (k *configCheck) credentials(ctx context.Context, about string, at location.Location, ref credentials.Ref) {
	if !at.Keyed() || ref.IsZero() {
		return
	}
	if err := credentials.Check(ctx, ref, filepath.Dir(k.c.Path), k.env); err != nil {
		k.problem(about, err)
	}
}

func (k *configCheck) vaultFolder(v config.Vault) {
	if !v.URL.Local() {
		return
	}
	if err := folder(v.URL.Path); errors.Is(err, fs.ErrNotExist) {
		k.notes = append(k.notes, "vault "+v.Name+": there is no folder "+v.URL.Path+" yet: `holdfast init` makes it")
	} else if err != nil {
		k.problem("vault "+v.Name, err)
	}
}

func (k *configCheck) sourceFolder(s config.Source) {
	if !s.URL.Local() {
		return
	}
	err := folder(s.URL.Path)
	hooked := len(s.Hooks.Before) > 0 || len(k.c.Hooks.Before) > 0
	if errors.Is(err, fs.ErrNotExist) && hooked {
		k.notes = append(k.notes, "source "+s.Name+": there is no folder "+s.URL.Path+" now: its hook has to bring it there")
	} else if err != nil {
		k.problem("source "+s.Name, err)
	}
}

// programs looks whether what is run is there, and nobody else's.
func (k *configCheck) programs() {
	for _, p := range programsOf(k.c, k.c.Sources) {
		if _, err := process.Find(p.argv[0], filepath.Dir(k.c.Path)); err != nil {
			k.problem(p.where, err)
		}
	}
	if err := trustedPrograms(k.trusts, k.c, k.c.Sources); err != nil {
		k.problem("", err)
	}
}

// folder looks whether a folder can be listed.
func folder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no folder")}
	}
	return err
}

// apart refuses a vault and a source that share an access key, or a place by other names than those in the file.
func (k *configCheck) apart(ctx context.Context) {
	for _, v := range k.c.Vaults {
		for _, s := range k.c.Sources {
			if v.URL.Local() && s.URL.Local() && (resolved(v.URL).Overlaps(resolved(s.URL)) || foldersOverlap(v.URL, s.URL)) {
				k.problem("", &marked{errSamePlace, fmt.Errorf("source %s and vault %s overlap, by other names than those in the file: a copy beside what it copies protects nothing", s.Name, v.Name)})
			}
			if k.oneKey(ctx, v.Credentials, s.Credentials) {
				k.problem("", &marked{errSameKey, fmt.Errorf("source %s and vault %s use the same access key: whoever steals it has both the original and the copy; "+
					"make a key of its own for the vault, at the other vendor", s.Name, v.Name)})
			}
		}
	}
}

// oneKey reports whether two references certainly lead to one access key.
func (k *configCheck) oneKey(ctx context.Context, a, b credentials.Ref) bool {
	if a.IsZero() || b.IsZero() {
		return false
	}
	if a == b {
		return true
	}
	if !a.Offline() || !b.Offline() {
		return false
	}
	dir := filepath.Dir(k.c.Path)
	ga, err := credentials.Resolve(a, dir, k.env)
	if err != nil {
		return false
	}
	gb, err := credentials.Resolve(b, dir, k.env)
	if err != nil {
		return false
	}
	same, err := credentials.SameAccessKey(ctx, ga, gb)
	return err == nil && same // what is not there is said elsewhere
}

// report prints what was read and found.
func (k *configCheck) report() error {
	var all together
	for _, p := range k.problems {
		if code, _ := exitOfOne(p); code != exitUsage { // a file that is not there, say
			p = &marked{errUnusable, p}
		}
		all = append(all, p)
	}
	shown := shownConfig(k.c)
	shown.Warnings, shown.Notes = append(shown.Warnings, k.warnings...), k.notes
	for _, p := range k.problems {
		shown.Problems = append(shown.Problems, p.Error())
	}
	if k.ui.json {
		return append(all, k.ui.object(shown)).orNil()
	}
	all = append(all, shown.print(k.ui.out))
	for _, w := range k.warnings {
		k.ui.warn("%s", w)
	}
	for _, n := range k.notes {
		k.ui.remark("Note: %s.", n)
	}
	switch {
	case len(k.problems) > 0:
	case k.fileOnly:
		k.ui.remark("The file can be used. Keys, credentials and folders were not looked at.")
	default:
		k.ui.remark("It can be used. `holdfast doctor` tries the vaults themselves.")
	}
	return all.orNil()
}

// errUnusable: the configuration names something that is not there, or cannot be used.
var errUnusable = errors.New("the configuration cannot be used")
