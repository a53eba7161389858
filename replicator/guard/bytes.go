package guard

import (
	"bytes"
	"math/bits"
	"slices"
)

// Bytes is what was seen of the plain bytes of one entry as they passed. Its zero value has seen nothing. It belongs to
// one goroutine.
type Bytes struct {
	windows, noisy int // stretches that were looked at, and those that look like chance
	head           [heads]byte
	n              int   // of head
	size           int64 // bytes so far
	fresh          int64 // of these, in chunks that no vault had
}

const (
	heads   = 24
	stretch = 256 // bytes of a stretch
	perRun  = 16  // stretches of one piece of content, a chunk or less
)

// Pass looks at the next piece of content: the whole of a small entry, or a chunk.
func (b *Bytes) Pass(p []byte) {
	if b.n < heads {
		b.n += copy(b.head[b.n:], p)
	}
	b.size += int64(len(p))
	n := min(len(p)/stretch, perRun)
	if n == 0 {
		return
	}
	step := (len(p) - stretch) / max(n-1, 1)
	for i := range n {
		b.windows++
		if noisy(p[i*step : i*step+stretch]) {
			b.noisy++
		}
	}
}

// Fresh is told that so many of the bytes were in chunks that are stored for this run.
func (b *Bytes) Fresh(n int64) {
	if b != nil {
		b.fresh += n
	}
}

// noisy reports whether 256 bytes could be chance, as what is encrypted or compressed is: these have some 162 different
// values, text about 50, and hardly any program or table more than 120.
func noisy(p []byte) bool {
	var seen [4]uint64
	for _, c := range p {
		seen[c>>6] |= 1 << (c & 63)
	}
	return bits.OnesCount64(seen[0])+bits.OnesCount64(seen[1])+bits.OnesCount64(seen[2])+bits.OnesCount64(seen[3]) >= 140
}

// noise is the share of what was looked at that looks like chance.
func (b *Bytes) noise() float64 {
	if b == nil || b.windows == 0 {
		return 0
	}
	return float64(b.noisy) / float64(b.windows)
}

// told reports whether enough was seen to say anything.
func (b *Bytes) told() bool { return b != nil && b.windows > 0 }

// form is whether content begins as its extension says.
type form int

const (
	unknown form = iota // the extension says nothing
	fits
	broken
)

// sign is what content of an extension begins with, at an offset; any of several.
type sign struct {
	at    int
	bytes []string
}

// signs are the extensions that say how their content begins.
func signOf(ext string) (sign, bool) {
	switch ext {
	case "jpg", "jpeg":
		return sign{0, []string{"\xff\xd8\xff"}}, true
	case "png":
		return sign{0, []string{"\x89PNG\r\n"}}, true
	case "gif":
		return sign{0, []string{"GIF8"}}, true
	case "pdf":
		return sign{0, []string{"%PDF-"}}, true
	case "zip", "docx", "xlsx", "pptx", "jar", "odt", "ods", "odp", "apk", "epub":
		return sign{0, []string{"PK"}}, true
	case "doc", "xls", "ppt", "msi":
		return sign{0, []string{"\xd0\xcf\x11\xe0"}}, true
	case "gz", "tgz":
		return sign{0, []string{"\x1f\x8b"}}, true
	case "xz":
		return sign{0, []string{"\xfd7zXZ"}}, true
	case "zst":
		return sign{0, []string{"\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18"}}, true
	case "bz2":
		return sign{0, []string{"BZh"}}, true
	case "7z":
		return sign{0, []string{"7z\xbc\xaf"}}, true
	case "rar":
		return sign{0, []string{"Rar!"}}, true
	case "mp4", "mov", "m4a", "m4v", "heic", "avif":
		return sign{4, []string{"ftyp", "moov", "wide", "mdat"}}, true
	case "webm", "mkv":
		return sign{0, []string{"\x1a\x45\xdf\xa3"}}, true
	case "webp", "wav", "avi":
		return sign{0, []string{"RIFF"}}, true
	case "tif", "tiff":
		return sign{0, []string{"II*\x00", "MM\x00*"}}, true
	case "flac":
		return sign{0, []string{"fLaC"}}, true
	case "ogg", "opus":
		return sign{0, []string{"OggS"}}, true
	case "sqlite", "sqlite3":
		return sign{0, []string{"SQLite format 3"}}, true
	case "parquet":
		return sign{0, []string{"PAR1"}}, true
	case "age":
		return sign{0, []string{"age-encryption.org/", "-----BEGIN AGE"}}, true
	case "exe", "dll":
		return sign{0, []string{"MZ"}}, true
	case "so", "elf":
		return sign{0, []string{"\x7fELF"}}, true
	}
	return sign{}, false
}

// form holds the beginning against the extension.
func (b *Bytes) form(ext string) form {
	s, ok := signOf(ext)
	if !ok || b == nil || b.n < heads {
		return unknown
	}
	if slices.ContainsFunc(s.bytes, func(p string) bool { return bytes.HasPrefix(b.head[s.at:b.n], []byte(p)) }) {
		return fits
	}
	return broken
}

// packed reports whether content begins as what a packer makes: somebody compressed it.
func (b *Bytes) packed() bool {
	for _, ext := range []string{"gz", "zst", "xz", "bz2", "zip", "7z"} {
		if b.form(ext) == fits {
			return true
		}
	}
	return false
}

// sealed are extensions of what its owner encrypts: it is noise before and after.
func sealed(ext string) bool {
	return slices.Contains([]string{"age", "gpg", "pgp", "asc", "kdbx", "p12", "pfx", "enc"}, ext)
}
