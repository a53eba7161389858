package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
)

const recoverHelp = `Rebuild the host key of a lost machine from the sealed copy in the vault.

It takes a restore key, checks what it finds against the repository's descriptor, and
writes to keys.host of the configuration, or to --out; a file that exists is never
overwritten. Afterwards 'holdfast run' goes on where the lost machine stopped.
` + readerHelp

// recovered is what key recover did, for scripts.
type recovered struct {
	File        string `json:"file"`
	Vault       string `json:"vault"`
	Fingerprint string `json:"fingerprint"`
}

func (a *keyCommands) keyCommand() *cobra.Command {
	return a.group("key", "Work with the keys of a repository", a.keyRecoverCommand(), a.keyRotateCommand(), a.keyAddRecipientCommand(), a.keyDropRecipientCommand(), a.keyAddReporterCommand(), a.keyStoreCommand(), a.keyCheckCommand())
}

// group is a command that only has others below it: by itself it shows its help.
func (a *app) group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.begin()
			return cmd.Help()
		},
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(below...)
	return cmd
}

func (a *keyCommands) keyRecoverCommand() *cobra.Command {
	var f readerFlags
	var out string
	var yes bool
	cmd := &cobra.Command{
		Use:               "recover --identity FILE [--out FILE]",
		Short:             "Rebuild a lost host key from the vault",
		Long:              recoverHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			return a.recoverHostKey(ctx, &f, out, yes)
		}),
	}
	f.add(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	addYes(cmd, &yes)
	cmd.Flags().StringVarP(&out, "out", "o", "", "write the host key to `FILE`, which must not exist (default: keys.host of the configuration)")
	return cmd
}

func (a *keyCommands) recoverHostKey(ctx context.Context, f *readerFlags, out string, yes bool) (err error) {
	if len(f.identities) == 0 {
		return usage(errors.New("give a restore key with --identity FILE"))
	}
	f.accepting = true
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if out == "" {
		if out, err = r.hostKeyPlace(); err != nil {
			return err
		}
	}
	there, err := hostKeyThere(out)
	if err != nil {
		return err
	}
	if _, err := r.content(); err != nil {
		return err
	}
	h, err := repo.RecoverHostKey(ctx, r.repo, r.vault.Reader, r.ids, r.findings.add)
	if err != nil {
		return together{err, r.alarm()}.orNil()
	}
	if there != nil && !there.Equal(h) {
		return fmt.Errorf("%s exists already and is another host key, and a key file is never overwritten: move it away, or name another with --out", out)
	}
	pinned, err := parsePin(f.fingerprint)
	if err != nil {
		return err
	}
	if err := a.trusts.confirmChain(r.repo, r.trust, "Are these your changes of keys, at the dates you made them, and is every restore key on your papers?",
		yes || pinned != "", "--fingerprint HEX, from the paper, or --yes"); err != nil {
		return err
	}
	if there != nil {
		err = keys.PinHostKeyFile(out, h)
	} else {
		err = keys.WriteHostKeyFile(out, h)
	}
	if err != nil {
		return err
	}
	if r.config != nil {
		if err := a.trusts.note(r.config, h); err != nil {
			a.ui.detail("the repository is pinned in the host key's file alone: %v", err)
		}
	}
	done := recovered{out, r.vault.name, r.repo.Fingerprint.String()}
	if a.ui.json {
		err = a.ui.object(done)
	} else {
		_, err = fmt.Fprintf(a.ui.out, "%s: host key recovered from %s, repository %s\n", done.File, safe(done.Vault), done.Fingerprint)
	}
	return together{err, r.alarm()}.orNil()
}

// hostKeyThere reads the host key that is to be recovered, if it is there: then only what is known of its repository is new.
func hostKeyThere(path string) (*keys.HostKey, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	h, err := keys.ReadHostKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s exists already, and a key file is never overwritten: move it away, or name another with --out (%v)", path, err)
	}
	return h, nil
}

// hostKeyPlace is where the configuration wants the host key.
func (r *reading) hostKeyPlace() (string, error) {
	if r.config == nil {
		return "", usage(errors.New("without a configuration, say where the host key goes: --out FILE"))
	}
	path, err := r.config.WritableHostKeyPath(r.env)
	if err != nil {
		return "", usage(fmt.Errorf("%w; or say where the host key goes: --out FILE", err))
	}
	return path, nil
}
