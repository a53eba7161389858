package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/toraw"
	"github.com/holdfast-backup/holdfast/store/repo"
)

const keyCheckHelp = `Say whether a restore key opens this repository, by opening something with it: for the yearly
look into the safe.

In every configured vault, or the one that --vault names, the smallest content among the first
entries of the newest point is read and opened with each key of FILE. In a vault without points it is the
sealed copy of the host key. Nothing is written.

A key that was added later opens what was stored since then; older data needs the older keys.

Exit codes: 0 every key opens content in every vault; 2 one does not (the host key opens names only); 1 a
vault cannot be read; 4 a vault was tampered with; 5 what was to be opened is lost.
` + readerHelp

// What a key is to a repository, by its public half.
const (
	roleRestore = "restore" // one of its restore keys
	roleDropped = "dropped" // was one
	roleHost    = "host"    // opens names
	roleNone    = "none"
)

// triedJSON is what came of one key in one vault.
type triedJSON struct {
	Vault       string `json:"vault"`
	Fingerprint string `json:"fingerprint"` // the repository's
	Recipient   string `json:"recipient"`
	Short       string `json:"short"`
	Class       string `json:"class"`
	Role        string `json:"role"`
	Since       string `json:"since,omitempty"` // when it was added, or dropped, if not there from the beginning
	Opens       *bool  `json:"opens"`           // null: it cannot be told
	Point       string `json:"point,omitempty"` // what it was tried with; empty: the sealed host key
	Source      string `json:"source,omitempty"`
	Error       string `json:"error,omitempty"`
}

func (a *keyCommands) keyCheckCommand() *cobra.Command {
	var f readerFlags
	cmd := &cobra.Command{
		Use:               "check --identity FILE",
		Short:             "Say whether a restore key opens this repository",
		Long:              keyCheckHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.action(func(ctx context.Context, _ []string) error { return a.checkKeys(ctx, &f) }),
	}
	f.add(cmd, a.app)
	f.addIdentity(cmd, "`FILE` with restore keys")
	return cmd
}

func (a *keyCommands) checkKeys(ctx context.Context, f *readerFlags) error {
	if len(f.identities) == 0 {
		return usage(errors.New("give the key that is to be checked with --identity FILE"))
	}
	base, places, pin, err := prepareReading(a.app, f)
	if err != nil {
		return err
	}
	var all together
	for _, p := range places {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r := base.stands.alone().reading
		if err := r.openFirst(ctx, []place{p}, pin); err != nil {
			all = append(all, err)
			continue
		}
		r.introduce(false)
		for _, id := range base.ids {
			all = append(all, (&keyTrial{r, id}).run(ctx))
		}
		all = append(all, r.alarm(), r.close())
	}
	return all.orNil()
}

// keyTrial tries one key in one vault.
type keyTrial struct {
	*reading
	id keys.Identity
}

// run tries the key and prints what came of it. The error is what the command comes to.
func (k *keyTrial) run(ctx context.Context) error {
	public := k.id.Recipient().String()
	line := triedJSON{
		Vault: k.vault.name, Fingerprint: k.repo.Fingerprint.String(), Recipient: public, Short: keys.ShortForm(public), Class: string(k.id.Class()),
	}
	var since time.Time
	if line.Role, since = roleIn(k.repo, public); !since.IsZero() {
		line.Since = since.UTC().Format(time.RFC3339)
	}
	p, err := k.try(ctx)
	if p != nil {
		line.Point, line.Source = p.ID.String(), p.Source
	}
	opens := err == nil
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case opens:
		line.Opens = &opens
	case errors.Is(err, seal.ErrNoKey) || errors.Is(err, repo.ErrNeedKey):
		line.Opens = &opens
		err = &marked{seal.ErrNoKey, fmt.Errorf("vault %s: key %s does not open this repository: %s", line.Vault, line.Short, line.why())}
	default:
		err = prefixed(fmt.Errorf("whether key %s opens this repository cannot be told: %w", line.Short, err), "vault "+line.Vault)
	}
	if err != nil {
		line.Error = err.Error()
	}
	if k.ui.json {
		return errors.Join(err, k.ui.object(line))
	}
	return errors.Join(err, k.ui.text(line.text()))
}

// text is the line for people.
func (c triedJSON) text() string {
	answer := "cannot be told"
	if c.Opens != nil {
		answer = map[bool]string{true: "yes", false: "no"}[*c.Opens]
	}
	role := c.Role + " key"
	if c.Role == roleNone {
		role = "key"
	}
	tried := "the sealed host key"
	if c.Point != "" {
		tried = fmt.Sprintf("point %.12s of %s", c.Point, c.Source)
	}
	text := fmt.Sprintf("%s: %s: %s %s (%s), repository %.16s, tried on %s", safe(c.Vault), answer, role, c.Short, c.Class, c.Fingerprint, tried)
	if c.Opens != nil && *c.Opens && c.Role == roleRestore && c.Since != "" {
		text += "; added " + c.Since + ", what was stored before opens with older keys only"
	}
	return text
}

// why says what a key is that does not open content.
func (c triedJSON) why() string {
	switch c.Role {
	case roleHost:
		return "it is the host key, which opens names and never content"
	case roleDropped:
		return "it was dropped at " + c.Since + ", and opens only what was stored before"
	case roleRestore:
		return "it is one of its restore keys, but was added at " + c.Since + ", after this was stored: older keys open it"
	}
	return "it is none of its keys; compare the fingerprint on the paper, or check another vault"
}

// try opens the smallest thing of the newest point that can be read, whose point it gives, or else the sealed host key.
func (k *keyTrial) try(ctx context.Context) (*browse.Point, error) {
	in, err := repo.NewReader(k.repo, k.vault.Reader, []keys.Identity{k.id}, nil, k.findings.add)
	if err != nil {
		return nil, err
	}
	for p, err := range browse.NewestFirst(ctx, k.view(), "") {
		if err != nil {
			return nil, err
		}
		if p.Commit == nil || p.Distrusted || p.Doubt != nil {
			continue
		}
		e, err := browse.Smallest(ctx, in, p.Commit)
		if err != nil {
			return &p, err
		}
		if e == nil {
			continue // a point of nothing but names
		}
		return &p, k.open(ctx, in, p, e.Key, e.Version)
	}
	_, err = repo.RecoverHostKey(ctx, k.repo, k.vault.Reader, []keys.Identity{k.id}, k.findings.add)
	return nil, err
}

// open reads one entry, up to the first bytes of it that are not zeros: of a disk image that is enough.
func (k *keyTrial) open(ctx context.Context, in *repo.Reader, p browse.Point, key, version string) error {
	o := k.restores.options(in, p, toraw.New(enough{}, version))
	o.Part = part.Entry(key)
	res, err := restore.Run(ctx, o)
	if errors.Is(err, errEnough) {
		return nil
	}
	for _, f := range res.Failures {
		if version == "" || f.Version == version || f.Version == "" {
			return f.Err
		}
	}
	return err
}

// errEnough ends a reading that has seen content.
var errEnough = errors.New("enough was read")

// enough is a writer that has had enough once it was handed content; zeros may stand for a hole.
type enough struct{}

func (enough) Write(b []byte) (int, error) {
	if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
		return 0, errEnough
	}
	return len(b), nil
}

// roleIn says what a key is to a repository, and since when, where that was not always so.
func roleIn(r *repo.Repository, public string) (role string, since time.Time) {
	role = roleNone
	for i, l := range r.Chain {
		now := roleNone
		switch {
		case slices.Contains(l.Recipients, public):
			now = roleRestore
		case role == roleRestore || role == roleDropped:
			now = roleDropped
		case role == roleHost || slices.Contains(l.Metadata, public):
			now = roleHost
		}
		if now != role && i > 0 {
			since = l.Created.Time
		}
		role = now
	}
	return role, since
}
