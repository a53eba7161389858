package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const addReporterHelp = `Let a machine leave records of what it does, signed with a key of its own.

A reporter's key signs records under reports/NAME/ in the vaults and can do nothing else. It
is made and written to the file that --key names, or taken from there if it exists. Put that
file on the machine whose runs are to be recorded, and name it there in keys.reporter.

A name that the repository has already, with another key, is refused. With --replace the new
key takes the place of the old one: what that signs from then on counts no more.
` + outHelp

func (a *keyCommands) keyAddReporterCommand() *cobra.Command {
	var f keyFlags
	cmd := a.keyChangeCommand(&f, addReporter, "add-reporter --identity FILE --key FILE [--name NAME] [--role ROLE]", "Let a machine leave signed records", addReporterHelp)
	cmd.Flags().StringVar(&f.key, "key", "", "`FILE` of the reporter's key; made if it does not exist")
	cmd.Flags().StringVar(&f.name, "name", "job", "`NAME` of the reporter: its records lie under reports/NAME/")
	cmd.Flags().BoolVar(&f.replace, "replace", false, "put the key in the place of the one that the repository has under this name")
	cmd.Flags().StringVar(&f.role, "role", "job", "what the reporter is: job, auditor, ..")
	return cmd
}

// reporterKey reads the reporter's key or makes it, unless that would take the name from another key.
func (f *keyFlags) reporterKey(now *format.Descriptor) (*keys.ReporterKey, error) {
	i := slices.IndexFunc(now.Keys, func(k format.Key) bool { return k.Use == format.UseReporter && k.Name == f.name })
	if i < 0 || f.replace {
		return f.readReporterKey()
	}
	k, err := keys.ReadReporterKeyFile(f.key)
	switch {
	case err == nil && bytes.Equal(k.Public(), now.Keys[i].Key):
		return f.readReporterKey()
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return nil, usage(fmt.Errorf("the repository has a reporter %s already, with the key %s (as in the names of its records), which is not the key in %s: "+
		"name that reporter's own file with --key, take another --name, or put this key in its place with --replace: what the old key signs from then on counts no more",
		f.name, format.KeyHint(now.Keys[i].Key), f.key))
}

func (f *keyFlags) readReporterKey() (*keys.ReporterKey, error) {
	if _, err := os.Lstat(f.key); !errors.Is(err, fs.ErrNotExist) {
		k, err := keys.ReadReporterKeyFile(f.key)
		if err == nil && k.Name != f.name {
			err = usage(fmt.Errorf("%s is the key of the reporter %s: give --name %s, or another file with --key", f.key, k.Name, k.Name))
		}
		return k, err
	}
	k, err := keys.GenerateReporterKey(f.name, f.role)
	if err != nil {
		return nil, usage(err)
	}
	return k, keys.WriteReporterKeyFile(f.key, k)
}
