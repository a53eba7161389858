package doctor

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/probe"
)

const (
	maxFiles = 2000      // of one folder that are looked at
	maxBytes = 256 << 10 // of one file: a key file has two thousand
)

// machine checks what lies on this machine.
func (d *doctor) machine(m Machine) {
	const subject = "machine"
	switch n := len(m.Recipients); {
	case n == 0:
		d.add(subject, "recipients", probe.Critical, "make restore keys with `holdfast keygen`, and name their public halves under keys.recipients", "there is no restore key")
	case n == 1:
		d.add(subject, "recipients", probe.Warning, "make a second restore key with `holdfast keygen`, keep it in another place, and add its public half to keys.recipients", "there is one restore key: who loses it loses every copy")
	default:
		d.add(subject, "recipients", probe.OK, "", "there are several restore keys")
	}
	if m.Owners == 0 {
		d.add(subject, "owners", probe.Info, "name the owner keys under keys.owners (`holdfast keygen --public FILE` prints them), then run `holdfast key rotate --identity FILE`",
			"no owner keys: whoever steals this machine can change the keys of the repository")
	} else {
		d.add(subject, "owners", probe.OK, "", "changes of keys are signed by owner keys, which are not on this machine")
	}
	d.hostKey(subject, m)
	d.configFile(subject, m.Config)
	d.restoreKeys(subject, m)
}

func (d *doctor) hostKey(subject string, m Machine) {
	const check = "host-key"
	if m.HostKeyErr != nil {
		d.add(subject, check, probe.NotTested, "", m.HostKeyErr.Error())
		return
	}
	_, err := keys.ReadHostKeyFile(m.HostKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.add(subject, check, probe.Warning, "run `holdfast init`, or, for a repository that exists, `holdfast key recover --identity FILE`", "there is no host key yet at "+m.HostKey)
	case errors.Is(err, keys.ErrFileMode):
		d.add(subject, check, probe.Critical, "chmod 600 "+m.HostKey, "others on this machine can read the host key: "+err.Error())
	case err != nil:
		d.add(subject, check, probe.Critical, "move the file away, and get it back with `holdfast key recover --identity FILE`", err.Error())
	default:
		d.add(subject, check, probe.OK, "", "the host key can be read by its owner only")
	}
}

// configFile: who can write the configuration decides where the copy goes.
func (d *doctor) configFile(subject, path string) {
	const check = "config-mode"
	for _, p := range []string{path, filepath.Dir(path)} {
		info, err := os.Stat(p)
		if err != nil {
			d.add(subject, check, probe.NotTested, "", err.Error())
			return
		}
		sticky := info.Mode()&fs.ModeSticky != 0
		if info.Mode().Perm()&0o022 != 0 && !sticky {
			d.add(subject, check, probe.Warning, "chmod go-w "+p, "others can write "+p+", and so say where the copy goes and to which keys")
			return
		}
	}
	d.add(subject, check, probe.OK, "", "only its owner can write the configuration")
}

// restoreKeys looks for private halves where people leave them.
func (d *doctor) restoreKeys(subject string, m Machine) {
	const check = "restore-keys"
	files, unread := filesIn(m.SearchDirs)
	for _, f := range files {
		found, err := restoreKey(f, m.Recipients)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unread = append(unread, f)
		case found == ours:
			d.add(subject, check, probe.Critical, "move it to paper, or to media that are not plugged in, and delete it here",
				"a restore key lies on this machine, in "+f+": whoever robs the machine reads every copy")
			return
		case found == others:
			d.add(subject, check, probe.Info, "", "an age key that is none of keys.recipients lies in "+f+": move it off this machine if it opens an older repository")
		}
	}
	where := strings.Join(m.SearchDirs, ", ")
	if len(unread) > 0 {
		d.add(subject, check, probe.NotTested, "", "no restore key was found in "+where+", but not all could be read: "+unread[0])
		return
	}
	d.add(subject, check, probe.OK, "", "no restore key lies in "+where+" (subfolders were not looked at)")
}

// filesIn lists the small regular files of folders.
func filesIn(dirs []string) (files, unread []string) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || len(entries) > maxFiles {
			unread = append(unread, dir)
			continue
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() <= maxBytes {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	return files, unread
}

// whose says what kind of key a file holds.
type whose int

const (
	nobodys whose = iota
	others
	ours
)

// restoreKey looks for an age identity in a file. Nothing of it is kept.
func restoreKey(path string, recipients []keys.Recipient) (whose, error) {
	f, err := os.Open(path)
	if err != nil {
		return nobodys, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nobodys, err
	}
	found := nobodys
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if !bytes.HasPrefix(bytes.ToUpper(line), []byte("AGE-SECRET-KEY-")) {
			continue
		}
		id, err := keys.ParseIdentity(string(line))
		if err != nil {
			continue // the beginning of one, in a text about keys
		}
		found = max(found, others)
		if slices.ContainsFunc(recipients, func(r keys.Recipient) bool { return r.Equal(id.Recipient()) }) {
			return ours, nil
		}
	}
	return found, nil
}
