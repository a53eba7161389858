package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// knownRepository gathers what this machine knows of its repository: from --fingerprint (or HOLDFAST_FINGERPRINT), the configuration,
// the host key's file and the one that a change of keys has left beside it, and the cache folder. Two that do not agree are
// refused.
func (a *trusting) knownRepository(c *config.Config, pin string) (repo.Known, error) {
	if c == nil {
		return repo.NewKnown(pin)
	}
	switch {
	case strings.HasPrefix(c.Fingerprint, pin):
		pin = c.Fingerprint
	case !strings.HasPrefix(pin, c.Fingerprint):
		return repo.Known{}, usage(fmt.Errorf("--fingerprint %.16s.. is not the %.16s.. of the configuration", pin, c.Fingerprint))
	}
	var hosts []*keys.HostKey
	if path, err := c.HostKeyPath(a.env); err == nil {
		for _, file := range []string{path, path + ".next"} {
			// One that cannot be read, or could be somebody else's, knows nothing; whoever needs the key itself says why.
			if a.me().File(file) != nil {
				continue
			}
			if h, err := keys.ReadHostKeyFile(file); err == nil {
				hosts = append(hosts, h, a.noted(c, h))
			}
		}
	}
	return repo.NewKnown(pin, hosts...)
}

// pinFile is where the cache folder keeps what is known of a host key's repository: for a host key in a file that cannot be
// written, such as a systemd credential.
func (a *trusting) pinFile(c *config.Config, h *keys.HostKey) (string, error) {
	base, err := a.cacheBase(c)
	sum := sha256.Sum256(h.Public())
	return filepath.Join(base, "known", hex.EncodeToString(sum[:8])), err
}

// noted reads what the cache folder knows, as the pin of an empty host key; nil where it knows nothing.
func (a *trusting) noted(c *config.Config, h *keys.HostKey) *keys.HostKey {
	path, err := a.pinFile(c, h)
	if err != nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil // not noted
	}
	defer f.Close()
	n := &keys.HostKey{}
	lines := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for lines.Scan() {
		what, digits, _ := strings.Cut(lines.Text(), " ")
		number := ""
		if what == "newest" {
			number, digits, _ = strings.Cut(digits, " ")
		}
		sum, err := format.ParseHash(digits)
		switch {
		case err != nil:
		case what == "repository":
			n.Repository = sum
		case what == "descriptor":
			n.Descriptors = append(n.Descriptors, sum)
		case what == "newest":
			if i, err := strconv.Atoi(number); err == nil && i >= 0 {
				n.Newest = keys.Newest{Number: i, Sum: sum}
			}
		}
	}
	return n
}

// keepPin writes what a host key knows of its repository into its file and into the cache folder. It fails only where
// neither can be written.
func (a *trusting) keepPin(c *config.Config, path string, h *keys.HostKey) error {
	err := keys.PinHostKeyFile(path, h)
	cerr := a.note(c, h)
	if err != nil && cerr == nil {
		a.ui.detail("the repository is pinned in the cache folder alone: %v", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; put `fingerprint: %x` into the configuration instead", err, h.Repository)
	}
	return nil
}

func (a *trusting) note(c *config.Config, h *keys.HostKey) error {
	path, err := a.pinFile(c, h)
	if err != nil {
		return err
	}
	all := keys.HostKey{}
	if before := a.noted(c, h); before != nil && before.Repository == h.Repository {
		all.Pin(h.Repository, before.Descriptors...)
		all.Newest = before.Newest
	}
	all.Pin(h.Repository, h.Descriptors...)
	all.PinNewest(h.Newest)
	var b bytes.Buffer
	fmt.Fprintf(&b, "repository %x\n", all.Repository)
	for _, d := range all.Descriptors {
		fmt.Fprintf(&b, "descriptor %x\n", d)
	}
	if !all.Newest.IsZero() {
		fmt.Fprintf(&b, "newest %d %x\n", all.Newest.Number, all.Newest.Sum)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// pinned keeps in mind the repository that a session found, where it was not known before.
func (j *job) pinned(s *repo.Session, h *keys.HostKey) error {
	if s.Pinned() {
		return nil
	}
	path, err := j.config.HostKeyPath(j.env)
	if err != nil {
		return err
	}
	first := format.Hash(h.Repository).IsZero()
	s.Repository().PinTo(h)
	if first && j.config.Fingerprint == "" && j.pin == "" {
		j.ui.warn("the repository %s is pinned from now on: this host key signed its first descriptor, and any other repository is refused; "+
			"compare it with the paper that the fingerprint is on", s.Repository().Fingerprint)
	}
	return j.trusts.keepPin(j.config, path, h)
}

// chainLines tell a repository's descriptors for people: what stands on paper can be compared with them. Restore keys are told by
// their short forms; whole gives all of their letters as well.
func chainLines(r *repo.Repository, n repo.Known, whole bool) []string {
	lines := []string{fmt.Sprintf("Repository %s", r.Fingerprint)}
	strange := len(r.Chain) - len(n.Strangers(r))
	var before []string
	for i, l := range r.Chain {
		line := fmt.Sprintf("descriptor %d: made %s, in the vault since %s, host key %x, ", l.Number,
			l.Created.UTC().Format(time.RFC3339), l.Arrived.UTC().Format(time.RFC3339), firstJob(l))
		same := slices.Equal(before, l.Recipients)
		if same {
			line += "the same restore keys"
		} else {
			line += plural(len(l.Recipients), "restore key", "restore keys")
		}
		if !l.DistrustAfter.IsZero() {
			line += ", distrusts what came after " + l.DistrustAfter.UTC().Format(time.RFC3339)
		}
		if i >= strange {
			line += " (NOT made by this machine)"
		}
		lines = append(lines, line)
		if before = l.Recipients; same {
			continue
		}
		for _, k := range l.Recipients {
			if whole {
				lines = append(lines, "  restore key "+keys.ShortForm(k)+" "+k)
			} else {
				lines = append(lines, "  restore key "+keys.Brief(k))
			}
		}
	}
	return lines
}

// confirmChain shows a repository's descriptors and asks.
func (a *trusting) confirmChain(r *repo.Repository, n repo.Known, question string, yes bool, flags string) error {
	return a.confirm(chainLines(r, n, a.ui.verbose || a.ui.json), question, yes, flags)
}

// firstJob is the beginning of the public key that stands for a descriptor's host key.
func firstJob(l repo.Link) []byte {
	for _, k := range l.KeysFor(format.UseJob) {
		return k[:8]
	}
	return nil
}

// interactive reports whether a person can be asked.
func (a *trusting) interactive() bool {
	f, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && a.ui.terminal && !a.ui.json
}

// confirm shows what is about to be done and asks. yes is the answer given before, by flag, which flags names: without a
// terminal nothing is done unless there is one.
func (a *trusting) confirm(show []string, question string, yes bool, flags string) error {
	for _, line := range show {
		a.ui.show(safe(line))
	}
	if yes {
		return nil
	}
	if !a.interactive() {
		return usage(fmt.Errorf("%s There is no terminal to ask on: look at what is shown, then give %s", question, flags))
	}
	a.ui.line(question + " Type yes to go on:")
	answer, err := bufio.NewReader(io.LimitReader(a.stdin, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(strings.ToLower(answer)) != "yes" {
		return usage(errors.New("not confirmed, and nothing was changed"))
	}
	return nil
}
