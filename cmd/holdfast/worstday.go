package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/docs"
	"github.com/holdfast-backup/holdfast/replicator/report/page"
	"github.com/holdfast-backup/holdfast/store/wholefile"
)

//go:embed worstday/page.html
var worstDayHTML string

const worstDayHelp = `Print one sheet for the worst day, as a page of HTML without anything from elsewhere: where the
copy is, the repository's fingerprint, the short forms of the restore keys and who keeps them,
and the commands that get everything back, with this program and without it. There is no secret
on it. Nothing is asked of any vault.

    holdfast worst-day --out worst-day.html
    holdfast worst-day --script > restore-by-hand.sh

Print the page and keep it with each restore key, together with the script and this program.
Where keys are kept is taken from 'custody' in the configuration (restore-1: "safe A"); without it
there are lines to fill in.

Exit codes: 0 done; 1 it could not be written; 2 bad usage or configuration.`

// worstDayPage is what the page says.
type worstDayPage struct {
	Title       string      `json:"-"`
	Vaults      []vaultJSON `json:"vaults"`
	Fingerprint string      `json:"fingerprint,omitempty"` // in groups; empty: not known here
	Keys        []keptKey   `json:"restore_keys"`
	Others      []keptThing `json:"custody,omitempty"`
	Locks       bool        `json:"-"` // every vault keeps locks
	Reader      bool        `json:"-"` // a credential is needed to read the first vault
	NewAge      bool        `json:"-"` // keys of a class that age opens from 1.3 on
	Setup       string      `json:"setup"`
	Instead     string      `json:"instead,omitempty"`
	Look        string      `json:"look"`
	Restore     string      `json:"restore"`
	ByHand      string      `json:"by_hand"`
	Script      string      `json:"script_sha256"`
	Program     string      `json:"program_sha256,omitempty"`
	Platform    string      `json:"platform"`
	Version     string      `json:"version"`
	Date        string      `json:"date"`
}

// keptKey is a restore key by its public half.
type keptKey struct {
	Number int    `json:"number"`
	Short  string `json:"short_form"`
	Begins string `json:"begins"`
	Where  string `json:"kept_at,omitempty"`
}

// keptThing is what else custody names.
type keptThing struct {
	Name  string `json:"name"`
	Where string `json:"kept_at"`
}

func worstDayCommand(a *app) *cobra.Command {
	var out string
	var script bool
	cmd := &cobra.Command{
		Use:               "worst-day",
		Short:             "Print the sheet for the worst day, with the commands that get everything back",
		Long:              worstDayHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.action(func(context.Context, []string) error {
			if script {
				return writeOut(a.ui.out, out, docs.RestoreByHand, "#!/bin/sh\n# restore-by-hand.sh:")
			}
			return worstDay(a, out)
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this `FILE` instead of standard output")
	cmd.Flags().BoolVar(&script, "script", false, "print the script that restores without holdfast")
	return cmd
}

func worstDay(a *app, out string) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	known, err := a.trusts.knownRepository(c, "")
	if err != nil {
		return err
	}
	for _, text := range strayCustody(c) {
		a.ui.warn("%s", text)
	}
	p := newWorstDayPage(c, known.Pin, a.now())
	sum := sha256.Sum256(docs.RestoreByHand)
	p.Script, p.Program = hex.EncodeToString(sum[:]), thisProgram()
	if p.Fingerprint == "" {
		a.ui.warn("the repository's fingerprint is not known here: write it onto the page from the paper, or run `holdfast init` and print the page again")
	}
	if a.ui.json {
		if out != "" {
			return usage(fmt.Errorf("--json prints what is on the page, and --out writes the page: give one of them"))
		}
		return a.ui.object(p)
	}
	t, err := template.New("worst-day").Parse(worstDayHTML)
	if err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	return writeOut(a.ui.out, out, page.Visible(b.Bytes()), worstDayHTML[:strings.Index(worstDayHTML, "{{")])
}

// writeOut writes to a file, all of it or none, or to standard output where none is named. An earlier one is replaced, which begins
// the same: sheets are printed again when keys change. No other file is: the restore key lies beside it.
func writeOut(to io.Writer, file string, text []byte, begins string) error {
	if file == "" {
		_, err := to.Write(text)
		return err
	}
	info, err := os.Stat(file)
	if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		var earlier bool
		if earlier, err = beginsWith(file, begins); err == nil && !earlier {
			return usage(fmt.Errorf("--out: %s is there already, and is no earlier one of these: name another place, or move it away", safe(file)))
		}
	}
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
	case err == nil && !info.Mode().IsRegular():
		err = os.WriteFile(file, text, 0o644) //nolint:gosec // a device, or a pipe
	default:
		err = wholefile.Replace(file, text, 0o644) // it is there to be read
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// beginsWith reports whether a file does.
func beginsWith(file, text string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len(text))
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return string(head[:n]) == text, err
}

// thisProgram is the SHA-256 of the program that runs; empty where it cannot be read.
func thisProgram() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

func newWorstDayPage(c *config.Config, pin string, now time.Time) *worstDayPage {
	first := c.Vaults[0]
	p := &worstDayPage{
		Title: first.Name, Fingerprint: groups(pin), Reader: first.URL.Keyed(), Look: "holdfast points --latest 3", Restore: restoreLines(c),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Version: thisBuild().Version, Date: now.UTC().Format(time.DateOnly),
	}
	p.NewAge = slices.ContainsFunc(c.Keys.Recipients, func(r keys.Recipient) bool { return r.Class() == keys.Hybrid })
	custody := maps.Clone(c.Custody)
	for i, r := range c.Keys.Recipients {
		name := fmt.Sprintf("restore-%d", i+1)
		p.Keys = append(p.Keys, keptKey{i + 1, keys.ShortForm(r.String()), r.String()[:min(20, len(r.String()))], custody[name]})
		delete(custody, name)
	}
	for _, name := range slices.Sorted(maps.Keys(custody)) {
		p.Others = append(p.Others, keptThing{name, custody[name]})
	}
	p.Locks = true
	for _, v := range c.Vaults {
		p.Locks = p.Locks && v.URL.Locks()
		p.Vaults = append(p.Vaults, vaultJSON{Name: v.Name, URL: v.URL.String()})
	}
	p.Setup = strings.Join(setupLines(first, pin), "\n")
	var instead []string
	for _, v := range c.Vaults[1:] {
		instead = append(instead, accessLines(v)...)
	}
	p.Instead = strings.Join(instead, "\n")
	p.ByHand = strings.Join(byHandLines(c), "\n")
	return p
}

// strayCustody says which restore keys custody names and keys.recipients does not have: after one was dropped the others count anew.
func strayCustody(c *config.Config) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Custody)) {
		number, ok := strings.CutPrefix(name, "restore-")
		if n, err := strconv.Atoi(number); ok && err == nil && (n < 1 || n > len(c.Keys.Recipients)) {
			out = append(out, fmt.Sprintf("custody names %s, and keys.recipients has %s: see whether each place still stands beside its key", name, plural(len(c.Keys.Recipients), "key", "keys")))
		}
	}
	return out
}

// setupLines let the commands behind them do without flags.
func setupLines(v config.Vault, pin string) []string {
	lines := append([]string{"umask 077"}, accessLines(v)...)
	if pin != "" {
		lines = append(lines, "export HOLDFAST_FINGERPRINT="+pin[:min(32, len(pin))])
	}
	return append(lines, "export HOLDFAST_IDENTITY=restore.key")
}

func accessLines(v config.Vault) []string {
	lines := []string{"export HOLDFAST_VAULT=" + shellWord(v.URL.String())}
	if !v.URL.Keyed() {
		return append(lines, "unset HOLDFAST_CREDENTIALS")
	}
	return append([]string{"export HOLDFAST_READER_ACCESS_KEY_ID=", "export HOLDFAST_READER_SECRET_ACCESS_KEY="},
		append(lines, "export HOLDFAST_CREDENTIALS=env:HOLDFAST_READER")...)
}

// maxOnSheet is how many sources have lines of their own: it is one sheet.
const maxOnSheet = 8

func restoreLines(c *config.Config) string {
	var lines []string
	for i, s := range c.Sources {
		if i == maxOnSheet {
			lines = append(lines, fmt.Sprintf("# and so on: %d more sources, named in the column SOURCE of `holdfast points`", len(c.Sources)-i))
			break
		}
		switch s.URL.Kind {
		case location.EBS, location.EC2:
			lines = append(lines, "# "+s.Name+": disks or machines; for where they can go see: holdfast restore --help")
		default:
			lines = append(lines, restoreLine(s.Name))
		}
	}
	if lines == nil {
		return "holdfast restore POINT --to ./all"
	}
	return strings.Join(lines, "\n")
}

// restoreLine brings a source back into a folder of its name. A name may begin as a flag does.
func restoreLine(name string) string {
	if strings.HasPrefix(name, "-") {
		return "holdfast restore --to ./" + name + " -- " + name + "@latest"
	}
	return "holdfast restore " + name + "@latest --to ./" + name
}

func byHandLines(c *config.Config) []string {
	v, name := c.Vaults[0], "newest"
	if len(c.Sources) > 0 {
		name = c.Sources[0].Name + "@latest"
	}
	get := "cp -R " + shellWord(filepath.Clean(v.URL.Path)) + " copy"
	if v.URL.Kind == location.S3 {
		get = "AWS_ACCESS_KEY_ID=$HOLDFAST_READER_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$HOLDFAST_READER_SECRET_ACCESS_KEY aws s3 sync"
		if e := v.URL.S3.Endpoint; e != "" {
			get += " --endpoint-url " + shellWord(e)
		}
		if r := v.URL.S3.Region; r != "" {
			get += " --region " + shellWord(r)
		}
		get += " " + shellWord(strings.TrimSuffix("s3://"+v.URL.S3.Bucket+"/"+strings.Trim(v.URL.S3.Prefix, "/"), "/")) + " copy"
	}
	return []string{get, "sh restore-by-hand.sh copy restore.key " + name + " > entries.jsonl"}
}

// groups writes digits as people read them aloud.
func groups(digits string) string {
	var out []string
	for part := range slices.Chunk([]byte(digits), 4) {
		out = append(out, string(part))
	}
	return strings.Join(out, " ")
}

// shellWord makes a text one word of a shell.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,@%:=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
