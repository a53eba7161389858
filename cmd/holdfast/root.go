package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
)

const rootHelp = `Holdfast keeps a copy of your cloud that nobody who owns your cloud can delete.

It reads buckets and directories with a read-only credential, compresses and encrypts
them to keys that are not on this machine, and writes them under object lock at a
second vendor with a credential that cannot delete.

Exit codes: 0 done; 1 failed; 2 bad usage, configuration or key; 3 finished but
incomplete; 4 finished, with an alarm; 5 verification found damage or an unprotected
copy; 130 and 143 stopped by SIGINT and SIGTERM.

Variables that stand in for flags that are not given: HOLDFAST_CONFIG, HOLDFAST_VAULT,
HOLDFAST_CREDENTIALS, HOLDFAST_IDENTITY (one file) and HOLDFAST_FINGERPRINT.`

// run parses and runs one command line.
func (a *app) run(ctx context.Context, args []string) int {
	a.ui.hide = secretsOf(os.Environ(), args)
	root := a.rootCommand()
	root.SetArgs(args)
	err := noSecrets(args)
	if err == nil {
		err = a.standIns.noSecrets()
	}
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err != nil && !a.started {
		// The flag may stand behind the one that was wrong, and then was not read.
		a.ui.json = a.ui.json || slices.Contains(args, "--json")
		if !errors.Is(err, errSecretShown) {
			err = usage(err)
		}
	}
	a.ui.endProgress()
	if werr := a.ui.outErr(); werr != nil {
		err = together{err, werr}.orNil()
	}
	if err != nil && !errors.As(err, new(*signalled)) { // else it says already what was stopped
		err = stopped(ctx, err)
	}
	code, name := exitOf(ctx, err)
	next := nextOf(ctx, err)
	if code == exitUsage {
		next = append(next, a.standIns.behind(err)...)
	}
	if err != nil {
		a.ui.fail(err, name, next)
	}
	wait := a.traces.finish(ctx, a.ui, code, name)
	a.notices.end(ctx, code, name, err)
	wait()
	return code
}

func (a *app) rootCommand() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "A copy of your cloud that nobody who owns your cloud can delete",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.begin()
			if version {
				return a.showVersion()
			}
			return cmd.Help()
		},
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		a.ui.settle()
		defer a.standIns.tell(a.ui)
		return a.standIns.fill(cmd)
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(a.ui.out)
	root.SetErr(a.ui.err)
	root.SetIn(a.stdin)

	root.Flags().BoolVar(&version, "version", false, "show the version, as the command of that name does")
	f := root.PersistentFlags()
	f.StringVarP(&a.configFile, "config", "c", "", "configuration `FILE` (default ./holdfast.yaml, then the user's, then /etc/holdfast)")
	f.BoolVar(&a.ui.json, "json", false, "one JSON object a line on standard output, errors as JSON on standard error")
	f.BoolVarP(&a.ui.quiet, "quiet", "q", false, "no remarks and no progress; results, warnings and errors only (of run: no complete points either)")
	f.BoolVarP(&a.ui.verbose, "verbose", "v", false, "say more on standard error")
	f.BoolVar(&a.ui.noProgress, "no-progress", false, "no progress bars (there are none in a pipe anyway)")

	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"setup", "Set up:", []*cobra.Command{a.keys.keygenCommand(), a.care.policyCommand(), a.initCommand(), a.care.doctorCommand(), a.keys.keyCommand(), a.care.configCommand(), (&scheduling{a}).command()}},
		{"backup", "Back up:", []*cobra.Command{a.plans.planCommand(), a.runCommand(), (&guardCommands{a}).tripwireCommand()}},
		{"look", "Look:", []*cobra.Command{
			a.reads.statusCommand(), (&watching{app: a}).command(), (&guardCommands{a}).guardCommand(), a.reads.pointsCommand(), a.reads.lsCommand(), a.reads.findCommand(),
			a.reads.diffCommand(), a.plans.statsCommand(), a.care.coverageCommand(), (&reporting{app: a}).command(),
		}},
		{"back", "Get back and check:", []*cobra.Command{
			a.reads.restoreCommand(), a.reads.catCommand(), a.reads.dumpCommand(), a.reads.serveCommand(), a.reads.proveCommand(), a.reads.verifyCommand(), a.care.drillCommand(), worstDayCommand(a),
		}},
		{"keep", "Keep:", []*cobra.Command{a.care.renewCommand(), holdCommand(a), a.care.pruneCommand(), a.notices.commands.notifyCommand()}},
		{"other", "Other:", []*cobra.Command{a.complete.completionCommand(), manCommand(a), a.versionCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("other")
	return root
}

// knownCommand says what was probably meant by a command there is none of.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("there is no command %q; did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// takes checks how many arguments a command was given; most < 0 is any number.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := len(args); n < least || most >= 0 && n > most {
			return fmt.Errorf("%s; the command is: %s", given(n), cmd.UseLine())
		}
		return nil
	}
}

// given says how many arguments there were.
func given(n int) string {
	if n == 0 {
		return "an argument is missing"
	}
	return plural(n, "argument given", "arguments given")
}

// action marks where a command's own code begins.
func (a *app) action(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.begin()
		if err := a.notices.badWhen(); err != nil {
			return err
		}
		return do(cmd.Context(), args)
	}
}

func (a *app) begin() {
	a.started = true
	a.ui.settle()
}

// loadConfig finds and reads the configuration, and passes its warnings on. A command reads it once, however often it asks.
func (a *app) loadConfig() (*config.Config, error) {
	path, err := config.Find(a.configFile, a.env, a.system)
	if err != nil {
		return nil, err
	}
	if a.configRead != nil && a.readFrom == path {
		return a.configRead, nil
	}
	if err := a.trusts.trustedConfig(path); err != nil {
		return nil, err
	}
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := trustedLists(a.trusts, c); err != nil {
		return nil, err
	}
	a.ui.detail("Configuration: %s", c.Path)
	for _, w := range c.Warnings {
		a.ui.warn("%s", w)
	}
	limitMemory(c.Limits.Memory)
	a.readFrom, a.configRead = path, c
	a.notices.begin(c)
	return c, nil
}

// usage marks an error as one of the command line.
func usage(err error) error {
	if err == nil || errors.Is(err, errUsage) {
		return err
	}
	return &marked{errUsage, err}
}
