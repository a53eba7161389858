package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

const manHelp = `Write a manual page for each command into a folder, for man(1).

  sudo holdfast man /usr/local/share/man/man1

The folder is made if it is not there. Pages of the same names are written anew. Their date
is SOURCE_DATE_EPOCH, or today.`

func manCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write a manual page for each command into a folder",
		Long:  manHelp,
		Args:  takes(1, 1),
		RunE:  a.action(func(_ context.Context, args []string) error { return writePages(a, args[0]) }),
	}
}

// writePages has a command tree of its own, since help texts are rewritten for it.
func writePages(a *app, dir string) error {
	root := a.rootCommand()
	forPages(root)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the folder of manual pages: %w", err)
	}
	h := doc.GenManHeader{Section: "1", Source: "Holdfast " + thisBuild().Version, Manual: "Holdfast"}
	if err := doc.GenManTree(root, &h, dir); err != nil {
		return fmt.Errorf("write the manual pages: %w", err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "holdfast*.1"))
	if err != nil {
		return err
	}
	a.ui.remark("%s in %s", plural(int64(len(pages)), "page", "pages"), dir)
	return nil
}

func forPages(c *cobra.Command) {
	c.DisableAutoGenTag = true
	c.Long = markdown(c.Long)
	for _, sub := range c.Commands() {
		forPages(sub)
	}
}

// markdown makes of a help text what the library makes pages of. In a help text a line that begins with a space, and what stands between
// two backquotes, stands as it is.
func markdown(help string) string {
	plain := strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", `\<`)
	lines := strings.Split(help, "\n")
	quoted, before := false, ""
	for i, line := range lines {
		if strings.HasPrefix(line, " ") {
			lines[i] = "    " + line
			if before != "" && !strings.HasPrefix(before, " ") {
				lines[i] = "\n" + lines[i] // what stands as it is begins behind an empty line
			}
			before = line
			continue
		}
		before = line
		parts := strings.Split(line, "`")
		for k := range parts {
			if !quoted {
				parts[k] = plain.Replace(parts[k])
			}
			if k < len(parts)-1 {
				quoted = !quoted
			}
		}
		lines[i] = strings.Join(parts, "`")
	}
	return strings.Join(lines, "\n")
}
