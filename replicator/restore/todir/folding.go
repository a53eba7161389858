package todir

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// manner is how the file system of one folder treats names, and what it keeps beside content.
type manner struct {
	folds   bool // it takes some spellings of a name for one: case, Unicode form, dots at the end
	windows bool // Windows reads it, where some names are devices and others cannot be
	memory  bool // it has no disk below it
	keeping
}

// mannerOf finds out about a folder that was there before: it may be another file system than the one above it, and ext4
// and f2fs fold names by folder. One that this run made is as the folder it was made in.
func (c *node) mannerOf(fd int) manner {
	m := c.parent.manner
	if c.fresh {
		return m
	}
	if c.id.device != c.parent.id.device {
		return c.t.probe(fd, c.name)
	}
	m.folds = m.folds || foldsCase(fd)
	return m
}

// probe tries what the file system of a folder does with names and attributes.
func (t *Target) probe(dir int, where string) manner {
	m := manner{folds: foldsCase(dir), windows: forWindows(dir), memory: inMemory(dir)}
	m.where = where
	if t.job.DryRun {
		return m
	}
	t.probeKeeping(dir, &m.keeping)
	for _, pair := range [][2]string{{"k", "K"}, {"\u00e9", "e\u0301"}, {"d", "d."}} {
		if m.folds {
			break
		}
		name := t.tempName()
		fd, err := openat(dir, name+pair[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			continue // then it cannot be told; the first file will say what is wrong
		}
		_ = unix.Close(fd)
		var st unix.Stat_t
		m.folds = unix.Fstatat(dir, name+pair[1], &st, unix.AT_SYMLINK_NOFOLLOW) == nil
		_ = unix.Unlinkat(dir, name+pair[0], 0)
	}
	return m
}

// fold gives what a file system that ignores case or Unicode form may take a name for: rather one spelling too many than
// one key over another. ext4 and f2fs also pass over characters that are not to be seen, Windows' file systems over dots
// and spaces at the end. What is not UTF-8 is bytes to all of them.
func fold(name string) string {
	if !utf8.ValidString(name) {
		return name
	}
	name = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
			return -1
		}
		return r
	}, norm.NFD.String(name))
	return strings.TrimRight(norm.NFC.String(cases.Fold().String(norm.NFD.String(name))), ". ")
}

// checkWindows refuses names that mean something else where Windows reads them, or nothing.
func checkWindows(s string) error {
	base, _, _ := strings.Cut(s, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch {
	case device(base):
		return refuse("%q is the name of a device on this kind of file system", s)
	case strings.HasSuffix(s, ".") || strings.HasSuffix(s, " "):
		return refuse("%q ends in a dot or a space, which this kind of file system drops", s)
	}
	for _, r := range s {
		if r < 0x20 || strings.ContainsRune(`<>:"\|?*`, r) {
			return refuse("%q holds %q, which no name can on this kind of file system", s, r)
		}
	}
	return nil
}

// device reports whether an upper-case name without its extension is one of Windows' devices.
func device(base string) bool {
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if n, ok := strings.CutPrefix(base, port); ok && utf8.RuneCountInString(n) == 1 && strings.Contains("0123456789¹²³", n) {
			return true
		}
	}
	return false
}
