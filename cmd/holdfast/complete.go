package main

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
)

// complete has the shell complete a flag's value. Registering fails only for a flag that does not exist, which a test of
// the commands would show.
func complete(cmd *cobra.Command, flag string, give func() []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return give(), cobra.ShellCompDirectiveNoFileComp
	})
}

// oneOf completes a value that is one of a few.
func oneOf(values ...string) func() []string { return func() []string { return values } }

// quietConfig is the configuration for completions, which must never print; nil if there is none.
func (a *completion) quietConfig() *config.Config {
	path, err := config.Find(cmp.Or(a.configFile, a.standIns.value(standInTable()[0])), a.env, a.system)
	if err != nil {
		return nil
	}
	c, err := config.Load(path)
	if err != nil {
		return nil
	}
	return c
}

func (a *completion) vaultNames() []string {
	var names []string
	if c := a.quietConfig(); c != nil {
		for _, v := range c.Vaults {
			names = append(names, v.Name)
		}
	}
	return names
}

func (a *completion) sourceNames() []string {
	var names []string
	if c := a.quietConfig(); c != nil {
		for _, s := range c.Sources {
			names = append(names, s.Name)
		}
	}
	return names
}

// completeSources completes up to most SOURCE arguments; most < 0 is any number.
func (a *completion) completeSources(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.sourceNames(), cobra.ShellCompDirectiveNoFileComp
	}
}

// completePoints completes up to most POINT arguments as SOURCE@latest and, of a vault that is a directory and so answers at
// once, as IDs. A bucket is not asked: pressing a key must not wait for the network.
func (a *completion) completePoints(f *readerFlags, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, s := range a.sourceNames() {
			out = append(out, s+"@latest")
		}
		if typed != "" && strings.Trim(typed, "0123456789abcdef") == "" {
			out = append(out, a.reads.nearPoints(cmd, f)...)
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
