package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/metrics"
)

// measuring writes metrics.
type measuring struct{ *notices }

// metricsPatience is how long another command is waited for that writes the same file.
const metricsPatience = 250 * time.Millisecond

func (n *measuring) writeMetrics(ctx context.Context, code int, ended time.Time) {
	c := n.config
	if code != exitUsage || !n.ui.terminal { // a slip of somebody's is no state of the job
		scope := metrics.Labels{"command": n.command, "scope": strings.Join(n.scope, " ")}
		n.sample("command_timestamp_seconds", scope, metrics.Seconds(ended))
		n.sample("command_exit_code", scope, float64(code))
		n.sample("command_duration_seconds", scope, roundSeconds(ended.Sub(n.began).Seconds()))
		if code == exitDone {
			n.sample("command_last_success_timestamp_seconds", scope, metrics.Seconds(ended))
		}
	}
	for _, s := range c.Sources {
		for _, v := range s.Vaults {
			if !c.Targets.RPO.IsZero() {
				n.sample("target_rpo_seconds", metrics.Labels{"source": s.Name, "vault": v}, c.Targets.RPO.AddTo(ended).Sub(ended).Seconds())
			}
		}
	}
	if n.notifier != nil {
		for _, s := range n.notifier.Standings() {
			l := metrics.Labels{"receiver": s.Receiver}
			n.sample("notification_failing", l, metrics.Truth(!s.Failing.IsZero()))
			n.sample("notification_last_success_timestamp_seconds", l, metrics.Seconds(s.Last))
		}
	}
	n.sample("build_info", metrics.Labels{"version": thisBuild().Version}, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsPatience)
	defer cancel()
	err := metrics.Write(ctx, c.Metrics.Textfile, metrics.Update{Samples: n.samples, Replaces: n.replaces, Keep: n.keeps})
	switch {
	case err == nil:
	case n.command == "status" && errors.Is(err, os.ErrPermission): // whoever looks need not be who writes
		n.ui.detail("%v", err)
	default:
		n.ui.warn("%v", err)
	}
}

func (n *measuring) sample(name string, l metrics.Labels, v float64) {
	n.samples = append(n.samples, metrics.Sample{Name: name, Labels: l, Value: v})
}

// replaces picks the series that this command has the last word on.
func (n *measuring) replaces(name string, l metrics.Labels) bool {
	switch {
	case name == "build_info", name == "target_rpo_seconds":
		return true
	case strings.HasPrefix(name, "command_"): // what was done for all was done for each
		return len(n.scope) == 0 && l["command"] == n.command && l["scope"] != ""
	case strings.HasPrefix(name, "notification_"):
		return n.notifier != nil
	case strings.HasPrefix(name, "point_"):
		return slices.ContainsFunc(n.owned, func(o metrics.Labels) bool { return o["source"] == l["source"] && o["vault"] == l["vault"] })
	}
	return false
}

// keeps drops what is not configured any more.
func (n *measuring) keeps(_ string, l metrics.Labels) bool {
	_, vault := n.config.Vault(l["vault"])
	_, source := n.config.Source(l["source"])
	return (vault || l["vault"] == "") && (source || l["source"] == "")
}
