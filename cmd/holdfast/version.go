package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// build is what is known of this program.
type build struct {
	Version  string `json:"version"`            // of the module; "(devel)" when built from a checkout
	Revision string `json:"revision,omitempty"` // of the checkout
	Modified bool   `json:"modified,omitempty"` // the checkout had changes
	Format   string `json:"format"`             // of repositories it writes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "(unknown)", Format: format.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of the program and of the repositories it writes",
		Args:  takes(0, 0),
		RunE:  a.action(func(context.Context, []string) error { return a.showVersion() }),
	}
}

func (a *app) showVersion() error {
	b := thisBuild()
	if a.ui.json {
		return a.ui.object(b)
	}
	revision := ""
	if b.Revision != "" {
		revision = " revision " + b.Revision
	}
	if b.Modified {
		revision += " (modified)"
	}
	fmt.Fprintf(a.ui.out, "holdfast %s%s\nrepository format %s\n%s %s\n", b.Version, revision, b.Format, b.Go, b.Platform)
	return nil
}
