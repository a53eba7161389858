package main

import (
	"github.com/spf13/cobra"
)

func (a *completion) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Long: `Print the completion script of a shell.

  bash        source <(holdfast completion bash)
  zsh         holdfast completion zsh > "${fpath[1]}/_holdfast"
  fish        holdfast completion fish > ~/.config/fish/completions/holdfast.fish
  powershell  holdfast completion powershell | Out-String | Invoke-Expression`,
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.begin()
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.ui.out, true)
			case "zsh":
				return root.GenZshCompletion(a.ui.out)
			case "fish":
				return root.GenFishCompletion(a.ui.out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.ui.out)
			}
		},
	}
}
