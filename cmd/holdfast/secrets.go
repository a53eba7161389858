package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/trusted"
	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// What a secret must not do: stand on a command line, where every user of the machine and the shell's history see it, or in
// a message, which logs keep. And what decides what this program does must not be somebody else's.

// errSecretShown: a secret was given where others can see it.
var errSecretShown = errors.New("a secret on the command line")

// shownForms are secrets, or pieces of files that hold some, whatever flag they stand behind. What they match is never
// repeated.
func shownForms() []shown {
	return []shown{
		{"a secret age key", regexp.MustCompile(`(?i)AGE-SECRET-KEY`)},
		{"the identity of a plugin", regexp.MustCompile(`(?i)AGE-PLUGIN-`)},
		{"a host key", regexp.MustCompile(`(?i)holdfast-host-key-[0-9]`)},
		{"a private key", regexp.MustCompile(`(?i)-----BEGIN [A-Z ]*PRIVATE KEY`)},
		{"a URL with a password", regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://[^/?#\s@]+@`)},
		{"a URL with a key in it", regexp.MustCompile(`(?i)://[^\s]*[?&][a-z0-9_.-]*(secret|password|passwd|token|signature|credential|access_?key)[a-z0-9_.-]*=`)},
		{"an access key with its secret", regexp.MustCompile(`\b(AKIA|ASIA)[A-Z2-7]{16}[:,/ ][A-Za-z0-9/+=]{30,}`)},
	}
}

// shown is a kind of secret and its form.
type shown struct {
	what string
	form *regexp.Regexp
}

// noSecrets refuses a command line with a secret in it, before anything reads or repeats it.
func noSecrets(args []string) error {
	for i, arg := range args {
		for _, f := range shownForms() {
			if f.form.MatchString(arg) {
				return &marked{errSecretShown, fmt.Errorf("argument %d holds %s. Every user of this machine can read a command line, and the shell keeps it: "+
					"take this secret for known to others, and clear the shell's history. Put secrets into a file of mode 0600 and name the file (--identity FILE, --credentials file:PATH), "+
					"or give a restore key on standard input (--identity -)", i+1, f.what)}
			}
		}
	}
	return nil
}

// secretName finds variables that hold secrets by their names.
var secretName = regexp.MustCompile(`(?i)(secret|passw|passphrase|token|private_?key|api_?key)`)

// placeName finds those that only say where a secret lies.
var placeName = regexp.MustCompile(`(?i)_(file|path|dir|ur[il])$`)

// proxyName finds variables whose values are addresses of proxies.
var proxyName = regexp.MustCompile(`(?i)^(https?|all)_proxy$`)

// leastHidden is how long a value must be to be looked for in messages: shorter ones are words that mean something else.
const leastHidden = 8

// secretsOf gives what must not stand in a message: values of secret variables, passwords of proxies, and whatever secret
// was given on the command line.
func secretsOf(environ, args []string) []string {
	var out []string
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if secretName.MatchString(name) && !placeName.MatchString(name) && len(value) >= leastHidden {
			out = append(out, value)
		}
		if !proxyName.MatchString(name) {
			continue
		}
		if u, err := url.Parse(value); err == nil && u.User != nil {
			if p, ok := u.User.Password(); ok {
				out = append(out, u.User.String(), p)
			}
		} else if i := strings.LastIndexByte(value, '@'); i > 0 {
			out = append(out, value[:i]) // no URL, and named as it stands in the error that says so
		}
	}
	given := slices.Clone(args)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if slices.ContainsFunc(standInTable(), func(in standIn) bool { return in.variable == name }) {
			given = append(given, value)
		}
	}
	for _, arg := range given {
		for _, f := range shownForms() {
			if f.form.MatchString(arg) {
				out = append(out, arg)
			}
		}
	}
	out = slices.DeleteFunc(out, func(x string) bool { return len(x) < leastHidden })
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) }) // what holds another goes first
	return slices.Compact(out)
}

// ageSecret is an age key wherever it turns up.
var ageSecret = regexp.MustCompile(`(?i)AGE-(SECRET-KEY|PLUGIN)-[A-Z0-9-]{8,}`)

// hidden is text without secrets.
func hidden(s string, secrets []string) string {
	for _, x := range secrets {
		s = strings.ReplaceAll(s, x, "[hidden]")
	}
	return ageSecret.ReplaceAllString(s, "[hidden]")
}

// readSecret reads a file that holds a key; - is standard input.
func (a *trusting) readSecret(path string) ([]byte, error) {
	if path != "-" {
		return keys.ReadSecretFile(path, maxKeyFile)
	}
	if a.stdinRead {
		return nil, usage(errors.New("standard input can be read once: several keys may stand in it, a line each"))
	}
	a.stdinRead = true
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.ui.remark("Paste the key, then Return and Ctrl-D.")
	}
	text, err := io.ReadAll(io.LimitReader(a.stdin, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading standard input: %w", err)
	case len(text) > maxKeyFile:
		return nil, fmt.Errorf("%w: standard input has more than %d bytes", keys.ErrTooLarge, maxKeyFile)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("%w: standard input", keys.ErrEmpty)
	}
	return text, nil
}

// me is who runs this program.
func (a *trusting) me() trusted.Who { return trusted.Me(a.env) }

// trustedConfig refuses a configuration that somebody else could have written: it names what is read with this user's rights,
// and where that goes. Of one that the user named himself only the file counts, as for sudo's; the folder is his choice.
func (a *trusting) trustedConfig(path string) error {
	check := a.me().File
	if a.configFile != "" {
		check = a.me().Named
	}
	if err := check(path); err != nil {
		return fmt.Errorf("configuration: %w; or name another with --config FILE", err)
	}
	return nil
}

// trustedLists refuses files of patterns that somebody else could have written: they say what is not kept.
func trustedLists(a *trusting, c *config.Config) error {
	check := a.me().File
	if a.configFile != "" {
		check = a.me().Named
	}
	for _, s := range c.Sources {
		if s.ExcludeFrom == "" {
			continue
		}
		if err := check(s.ExcludeFrom); err != nil {
			return fmt.Errorf("source %s: exclude_from: %w", s.Name, err)
		}
	}
	return nil
}
