package main

import (
	"slices"

	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// alarms is what somebody has to look at, as receivers are told it; scripts get the texts.
type alarms []notify.Finding

func (a alarms) texts() (out []string) {
	for _, f := range a {
		out = append(out, f.Text)
	}
	return out
}

// of gives what is about a vault, or about none of those given: what is said of a vault that has no line of its own is said in each.
func (a alarms) of(vault string, all []string) (out alarms) {
	for _, f := range a {
		if f.Vault == vault || !slices.Contains(all, f.Vault) {
			out = append(out, f)
		}
	}
	return out
}

// alarmOf is what was found in a vault. Another object with the same fault is another problem.
func alarmOf(x repo.Finding) notify.Finding {
	return notify.Finding{Kind: string(x.Kind), Name: x.Name, Text: x.String(), Vault: x.Vault}
}
