package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/notify"
)

const notifyTestHelp = `Send every receiver of the configuration a test message, whatever it is told of otherwise.

A webhook and a mail server get a message of the kind "test". A ping gets an entry in its log (URL/log), which
neither starts nor ends anything there.

Behind each webhook and mail server stands what it was told of and is not over, as far as this machine remembers, and what it was not
told of yet: messages are held back where more than six came within an hour, and the same problem is told once a day.

Exit codes: 0 every receiver took it; 1 one did not; 2 the configuration names no receiver.`

const notifyFailedHelp = `Tell that a systemd unit failed, where its command could not tell so itself: it was killed, ran out of memory, or
could not start. It is for OnFailure= of the units:

    [Unit]
    OnFailure=holdfast-failed@%n.service

and in holdfast-failed@.service:

    ExecStart=/usr/local/bin/holdfast notify failed %i

What systemd says of the failure is taken from the environment ($MONITOR_SERVICE_RESULT and its like: systemd 251 or
newer). A unit whose command told what it came to is not told of again, nor is the same unit within a day.
Webhooks and mail are told. A ping notices by itself that no end came.

Exit codes: 0 told, or nothing to tell; 1 a receiver did not take it.`

// notifying is the commands that try receivers, and that speak for others.
type notifying struct{ *notices }

// deliveredJSON is what came of telling one receiver, for scripts.
type deliveredJSON struct {
	Receiver string  `json:"receiver"`
	Status   string  `json:"status"` // delivered, failed
	Seconds  float64 `json:"seconds"`
	Error    string  `json:"error,omitempty"`

	Held int           `json:"held"`           // messages that were held back since the last one
	Open []pendingJSON `json:"open,omitempty"` // what is not well
}

// pendingJSON is a problem that is not over.
type pendingJSON struct {
	notify.Problem
	ToldAt string `json:"told_at,omitempty"` // absent: not told yet
}

// maxPending bounds what is listed for a receiver.
const maxPending = 20

// pending adds what a receiver was told and is to be told.
func (l *deliveredJSON) pending(s notify.Standing) (lines []string) {
	l.Held = s.Held
	if text := heldBack(s); text != "" {
		lines = append(lines, fmt.Sprintf("  %s held back, because many came within an hour", plural(s.Held, "message is", "messages are")))
	}
	for i, p := range s.Open {
		if i == maxPending {
			return append(lines, fmt.Sprintf("  and %d more", len(s.Open)-i))
		}
		x, told := pendingJSON{Problem: p.Problem}, "not told yet"
		if !p.Told.IsZero() {
			x.ToldAt = p.Told.UTC().Format(time.RFC3339)
			told = "told " + p.Told.UTC().Format(timeForm)
		}
		l.Open = append(l.Open, x)
		lines = append(lines, fmt.Sprintf("  %s: %s", told, p.Line()))
	}
	return lines
}

func (n *notifying) notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try the receivers of messages, or tell them that a unit failed",
		Args:  takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { n.app.begin(); return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:               "test",
		Short:             "Send every receiver a test message",
		Long:              notifyTestHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              n.action(func(ctx context.Context, _ []string) error { return n.test(ctx) }),
	}, &cobra.Command{
		Use:               "failed UNIT",
		Short:             "Tell that a systemd unit failed: for OnFailure=",
		Long:              notifyFailedHelp,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              n.action(func(ctx context.Context, args []string) error { return n.unitFailed(ctx, args[0]) }),
	})
	return cmd
}

// receivers reads the configuration and demands that it names some.
func (n *notifying) receivers() (*config.Config, error) {
	c, err := n.loadConfig()
	if err != nil {
		return nil, err
	}
	if len(c.Notify) == 0 {
		return nil, usage(fmt.Errorf("%s names no receivers: add some under notify, such as `notify: [{webhook: {url: https://hooks.example.com/path}}]`", c.Path))
	}
	return c, nil
}

func (n *notifying) test(ctx context.Context) error {
	c, err := n.receivers()
	if err != nil {
		return err
	}
	standings := n.open(c).Standings()
	deliveries, rerr := n.open(c).Test(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	n.warn(nil, rerr)
	var all together
	for i, d := range deliveries {
		line := deliveredJSON{Receiver: d.Receiver, Status: "delivered", Seconds: d.Seconds}
		text := fmt.Sprintf("%s: delivered in %.1f s", safe(d.Receiver), d.Seconds)
		if d.Err != nil {
			line.Status, line.Error = "failed", d.Err.Error()
			text = fmt.Sprintf("%s: failed", safe(d.Receiver))
			all = append(all, &marked{errNotDelivered, fmt.Errorf("%s: %w", d.Receiver, d.Err)})
		}
		var lines []string
		if i < len(standings) {
			lines = line.pending(standings[i])
		}
		if n.ui.json {
			err = n.ui.object(line)
		} else {
			err = n.ui.text(printable(strings.Join(append([]string{text}, lines...), "\n")))
		}
		all = append(all, err)
	}
	return all.orNil()
}

// maxUnit bounds a unit's name, as systemd does.
const maxUnit = 255

func (n *notifying) unitFailed(ctx context.Context, unit string) error {
	if unit == "" || len(unit) > maxUnit || strings.ContainsFunc(unit, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return usage(fmt.Errorf("%q is no name of a unit, such as holdfast.service", unit))
	}
	c, err := n.receivers()
	if err != nil {
		return err
	}
	get := func(name string) string { v, _ := n.env("MONITOR_" + name); return v }
	u := notify.Unit{Name: unit, Result: get("SERVICE_RESULT"), ExitCode: get("EXIT_CODE"), ExitStatus: get("EXIT_STATUS")}
	told, failures, err := n.open(c).UnitFailed(ctx, u, get("INVOCATION_ID"))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	n.warn(nil, err)
	if !told {
		n.ui.remark("Nothing to tell: the command of %s told what it came to, or this was told within the last day.", unit)
	}
	var all together
	for _, f := range failures {
		all = append(all, &marked{errNotDelivered, fmt.Errorf("%s: %w", f.Receiver, f.Err)})
	}
	return all.orNil()
}
