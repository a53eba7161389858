package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

const keygenHelp = `Make a restore key: the one thing that opens what Holdfast stores.

The secret goes to FILE, readable by its owner only, or to standard output; a file that
exists is never overwritten. The public recipient is printed and belongs into the
configuration, under keys.recipients. Beside it stands the owner key (hfowner1..), which
belongs under keys.owners: with it only who holds the restore key can change the keys of
the repository, and a stolen machine cannot. Keep the secret away from the machine that runs
the job, on paper or on a medium that is not plugged in. Two keys in two places are
better than one: whoever loses every key loses every copy.

The short form of the recipient, 32 digits, goes onto the paper with the key. Commands that
show a restore key and ask whether it is yours show its short form.`

// made is what keygen did, for scripts.
type made struct {
	Recipient string `json:"recipient"`
	Short     string `json:"short"`
	Owner     string `json:"owner"`
	Class     string `json:"class"`
	File      string `json:"file,omitempty"`
	Identity  string `json:"identity,omitempty"` // the secret, where no file was named
}

// madeOf tells the public halves of a key.
func madeOf(id keys.Identity) made {
	public := id.Recipient().String()
	return made{Recipient: public, Short: keys.ShortForm(public), Owner: keys.OwnerOf(id).String(), Class: string(id.Class())}
}

func (a *keyCommands) keygenCommand() *cobra.Command {
	var file, public string
	var classic bool
	cmd := &cobra.Command{
		Use:   "keygen [--out FILE] [--classic] | --public FILE",
		Short: "Make a restore key",
		Long:  keygenHelp,
		Args:  takes(0, 0),
		RunE: a.action(func(context.Context, []string) error {
			class := keys.Hybrid
			if classic {
				class = keys.X25519
			}
			if public != "" {
				if file != "" || classic {
					return usage(errors.New("--public FILE shows the public halves of keys that are there: it takes no other flag"))
				}
				return a.publicHalves(public)
			}
			return a.keygen(file, class)
		}),
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVarP(&file, "out", "o", "", "write the secret to `FILE`, which must not exist")
	cmd.Flags().StringVar(&public, "public", "", "make no key: print recipient and owner key of the restore keys in `FILE`, - for standard input")
	cmd.Flags().BoolVar(&classic, "classic", false, "an X25519 key (age1..), which older age programs open, instead of a post-quantum one (age1pq1..)")
	return cmd
}

func (a *keyCommands) keygen(file string, class keys.Class) error {
	id, err := keys.GenerateIdentity(class)
	if err != nil {
		return err
	}
	result := madeOf(id)
	if file == "" {
		return a.printKey(id, result)
	}
	if err := keys.WriteIdentityFile(file, id, a.now()); err != nil {
		return err
	}
	result.File = file
	if a.ui.json {
		return a.ui.object(result)
	}
	fmt.Fprintln(a.ui.out, result.Recipient)
	a.ui.remark("Public key written to standard output; it goes into keys.recipients.")
	a.ui.remark("Short form: %s", result.Short)
	a.ui.remark("Write it on the paper with the key: commands that ask whether a restore key is yours show this.")
	a.ui.remark("Owner key: %s", result.Owner)
	a.ui.remark("It goes into keys.owners; whoever holds the secret key signs changes of keys with it.")
	a.ui.remark("The secret key is in %s. Keep it off this machine.", file)
	return nil
}

// publicHalves shows what of keys that are there goes into a configuration.
func (a *keyCommands) publicHalves(file string) error {
	text, err := a.trusts.readSecret(file)
	if err != nil {
		return err
	}
	ids, err := keys.ParseIdentities(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, id := range ids {
		line := madeOf(id)
		if a.ui.json {
			err = a.ui.object(line)
		} else {
			_, err = fmt.Fprintln(a.ui.out, line.Recipient)
			a.ui.remark("Short form: %s", line.Short)
			a.ui.remark("Owner key: %s", line.Owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printKey writes the secret to standard output.
func (a *keyCommands) printKey(id keys.Identity, result made) error {
	if f, ok := a.ui.sticky.to.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			a.ui.warn("standard output is a file with mode %04o: others may read the secret key; next time use --out FILE", info.Mode().Perm())
		}
	}
	if a.ui.json {
		result.Identity = id.Secret()
		return a.ui.object(result)
	}
	if _, err := a.ui.out.Write(keys.MarshalIdentity(id, a.now())); err != nil {
		return err
	}
	a.ui.remark("Public key: %s", result.Recipient)
	a.ui.remark("Short form: %s", result.Short)
	a.ui.remark("Owner key: %s", result.Owner)
	return nil
}
