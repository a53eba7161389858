package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/replicator/prove"
	"github.com/holdfast-backup/holdfast/store/repo"
)

const proveHelp = `Write a page that proves one entry of a recovery point: the signed name of the point, the hashes from there down to the entry's bytes, the locks as the
vault answered, and the commands that check it with sha256sum, openssl, zstd, jq and age alone, without holdfast.

The page is text and a shell script: in a folder with a copy of the stored objects that it names, 'K=restore.key sh PAGE' checks
all of it: it ends with 0 if all is right, with 1 where a bit is another, and with 2 where it cannot be checked there. It holds the
names of the entry and of stored objects, and no key.

KEY is the entry's whole key, as 'holdfast ls' gives it. Entries of more than 256 chunks (some 256 MiB) have their pieces
in lists of their own and are refused.

Exit codes: 0 written; 1 failed, or no such entry; 2 the key does not open it; 4 written, and the vault was tampered with;
5 something in the vault is lost.
` + pointHelp + readerHelp

// provedJSON is what was written, for scripts.
type provedJSON struct {
	Point  string `json:"point"`
	Key    string `json:"key"`
	SHA256 string `json:"sha256"` // empty: the entry has no content
	Page   string `json:"page"`   // the file; empty: page_text has it
	Text   string `json:"page_text,omitempty"`
}

func (a *readCommands) proveCommand() *cobra.Command {
	var f readerFlags
	var out, version string
	cmd := &cobra.Command{
		Use:               "prove POINT KEY",
		Short:             "Write a page with which anybody can check one entry",
		Long:              proveHelp,
		Args:              takes(2, 2),
		ValidArgsFunction: a.complete.completePoints(&f, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.pour(ctx, &f, args[0], func(r *reading, in *repo.Reader, p browse.Point, of part.Part) error {
				return r.restores.prove(ctx, in, p, of.Full(args[1]), version, out)
			})
		}),
	}
	f.add(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with a restore key")
	f.addAllowIncomplete(cmd)
	cmd.Flags().StringVar(&version, "version-id", "", "this `VERSION` of KEY instead of the current one")
	cmd.Flags().StringVar(&out, "out", "", "write the page to `FILE`, which must not exist, instead of standard output")
	return cmd
}

// prove writes the page.
func (r *restoring) prove(ctx context.Context, in *repo.Reader, p browse.Point, key, version, out string) (err error) {
	e, err := entryOf(ctx, in, p, key, version)
	if err != nil {
		return err
	}
	page, err := prove.Page(ctx, prove.Options{
		Repository: r.repo, In: r.vault.Reader, Reader: in, Point: p.Point, Commit: p.Commit, Entry: e, Program: userAgent(), Now: r.now(),
	})
	if err != nil {
		return err
	}
	line := provedJSON{Point: p.ID.String(), Key: key, Page: out}
	if !e.SHA256.IsZero() {
		line.SHA256 = e.SHA256.String()
	}
	if out != "" {
		if err := writeNew(out, page); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		r.ui.remark("The page is in %s: K=restore.key sh %s, in a folder with a copy of the stored objects that it names.", out, out)
	}
	switch {
	case r.ui.json:
		if out == "" {
			line.Text = string(page)
		}
		return r.ui.object(line)
	case out == "":
		_, err = r.ui.out.Write(page)
	}
	return err
}
