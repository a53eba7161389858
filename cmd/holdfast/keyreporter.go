package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

const addReporterHelp = `Let a machine leave records of what it does, signed with a key of its own.

A reporter's key signs records under reports/NAME/ in the vaults and can do nothing else. It
is made and written to the file that --key names, or taken from there if it exists. Put that
file on the machine whose runs are to be recorded, and name it there in keys.reporter.

A reporter of that name that the repository has already is replaced: what its old key signs
from then on counts no more.
` + outHelp

func (a *app) keyAddReporterCommand() *cobra.Command {
	var f keyFlags
	cmd := a.keyChangeCommand(&f, addReporter, "add-reporter --identity FILE --key FILE [--name NAME] [--role ROLE]", "Let a machine leave signed records", addReporterHelp)
	cmd.Flags().StringVar(&f.key, "key", "", "`FILE` of the reporter's key; made if it does not exist")
	cmd.Flags().StringVar(&f.name, "name", "job", "`NAME` of the reporter: its records lie under reports/NAME/")
	cmd.Flags().StringVar(&f.role, "role", "job", "what the reporter is: job, auditor, ..")
	return cmd
}

// reporterKey reads the reporter's key or makes it.
func (f *keyFlags) reporterKey() (*keys.ReporterKey, error) {
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
