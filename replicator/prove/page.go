package prove

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// quoted is a word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// plain is a text of others within a comment: on one line, and such that it steers no terminal.
func plain(s string) string { return strings.Trim(fmt.Sprintf("%+q", s), `"`) }

// octal has a shell's printf write bytes.
func octal(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\%03o`, c)
	}
	return s.String()
}

func (w *writer) say(text string, args ...any) { fmt.Fprintf(&w.out, "# "+text+"\n", args...) }
func (w *writer) put(text string, args ...any) { fmt.Fprintf(&w.out, text+"\n", args...) }

const head = `set -eu
export LC_ALL=C
K=${K:?is the file with a restore key: K=FILE sh PAGE}
V=${V:-.}        # a folder with a copy of the stored objects that are named below
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
right() { echo "right: $*"; }
wrong() { echo "WRONG: $*" >&2; exit 1; }
sum() { if [ "$(sha256sum < "$1" | cut -d ' ' -f 1)" = "$2" ]; then right "$3"; else wrong "$3"; fi; }
frame() { "${AGE:-age}" -d -i "$K" "$V/$1" 2> /dev/null | tail -c +$(($2 + 1)) | head -c "$3" | zstd -dcq 2> /dev/null || :; }
`

func (w *writer) all() {
	w.preface()
	w.out.WriteString(head)
	w.signature()
	w.manifest()
	w.content()
	w.put("")
	w.put("echo 'All of it is right.'")
}

func (w *writer) preface() {
	o, e := w.o, w.o.Entry
	w.put("#!/bin/sh")
	w.say("Proof of one entry of a recovery point, written by %s at %s", o.Program, o.Now.UTC().Format(time.RFC3339))
	w.say("")
	w.say("repository  %s", o.Repository.ID)
	w.say("fingerprint %s (compare it with your paper)", o.Repository.Fingerprint)
	w.say("source      %s", o.Point.Source)
	w.say("point       %s", o.Point.ID)
	w.say("signed at   %s, kept until %s", o.Commit.SignedAt.UTC().Format(time.RFC3339), o.Commit.RetainUntil.UTC().Format(time.RFC3339))
	w.say("entry       %s", plain(e.Key))
	if e.Version != "" {
		w.say("version     %s", plain(e.Version))
	}
	w.say("size        %d bytes", e.Size)
	w.say("sha256      %s", e.SHA256)
	w.say("")
	w.say("This page is a shell script that checks all of it, with sha256sum, openssl, zstd, jq, age and coreutils, and without Holdfast. Read it, copy the stored")
	w.say("objects below from the vault into a folder under the same names, and run it there: K=restore.key sh PAGE (V=FOLDER for another folder). It ends with")
	w.say("exit code 0 only if every line is right. It shows what the point holds of the entry; that the source had it is for whoever made the point to say.")
	w.say("")
	w.say("The stored objects, with their locks as the vault answered when this page was written (ask the vault again for what it answers now):")
	for _, s := range w.needs {
		lock := "no lock"
		if s.lock.Mode != store.ModeNone {
			lock = fmt.Sprintf("%s until %s", s.lock.Mode, s.lock.Until.UTC().Format(time.RFC3339))
		}
		version := ""
		if s.version != "" {
			version = ", version " + plain(s.version)
		}
		w.say("  %s: %d bytes%s, %s", s.name, s.size, version, lock)
	}
	w.put("")
}

// signature: descriptors, the point's signed name, the commit object.
func (w *writer) signature() {
	p := w.o.Point
	w.put("")
	w.say("1. The first descriptor is the one of the fingerprint; each has the hash that its name says.")
	for _, l := range w.chain() {
		w.put("sum \"$V\"/%s %s 'descriptor %d'", quoted(l.Name), l.Sum, l.Number)
	}
	w.put("")
	w.say("2. The point's name is signed by the job key %s.. of a descriptor.", p.Hint)
	var files []string
	for _, l := range w.chain() {
		files = append(files, `"$V"/`+quoted(l.Name))
	}
	w.put("for d in %s; do", strings.Join(files, " "))
	w.put("	for k in $(head -n 1 \"$d\" | jq -r '.keys[] | select(.use == \"job\").key'); do")
	w.put("		printf %%s \"$k\" | openssl base64 -d -A > \"$T/key\"")
	w.put("		case $(sha256sum < \"$T/key\") in %s*) { printf '%s'; cat \"$T/key\"; } > \"$T/pub.der\" ;; esac", p.Hint, octal([]byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}))
	w.put("	done")
	w.put("done")
	w.put("[ -s \"$T/pub.der\" ] || wrong 'the key that signed the point'")
	w.put("{ printf 'holdfast/1/point\\0'; printf '%%s\\n%%s\\n%%s\\n%%s\\n' %s %s %s %s | openssl dgst -sha256 -binary; } > \"$T/msg\"", w.o.Repository.ID, p.Source, stamp(p.Name), p.ID)
	w.put("printf '%s' > \"$T/sig\"", octal(p.Signature))
	w.put("openssl pkeyutl -verify -pubin -keyform DER -inkey \"$T/pub.der\" -rawin -in \"$T/msg\" -sigfile \"$T/sig\" > /dev/null 2>&1 || wrong 'the signature of the point'")
	w.put("right 'the signature of the point'")
	w.put("")
	w.say("3. The commit object has the hash that was signed, is of this repository, and names the root of the manifest.")
	w.put("sum \"$V\"/%s %s 'the commit object'", quoted(p.Name), p.ID)
	w.put("head -n 1 \"$V\"/%s | jq -e '.repository == \"%s\"' > /dev/null || wrong 'the repository of the commit object'", quoted(p.Name), w.o.Repository.ID)
	w.put("sed -n 2p \"$V\"/%s | jq -e '.manifest.sha256 == \"%s\"' > /dev/null || wrong 'the root that the commit object names'", quoted(p.Name), w.steps[0].ref.Sum)
	w.put("right 'the root that the commit object names'")
}

// manifest: each page, and that it names the next.
func (w *writer) manifest() {
	w.put("")
	w.say("4. Each page of the manifest has the hash that the one above names, down to the entry.")
	for i, s := range w.steps {
		w.put("sum \"$V\"/%s %s 'the object of page %d'", quoted(s.ref.Object), sumOf(s.ref.Object), i)
		w.put("frame %s %d %d > \"$T/page%d\"", quoted(s.ref.Object), s.ref.Frame.Offset, s.ref.Frame.Length, i)
		w.put("sum \"$T/page%d\" %s 'page %d'", i, s.ref.Sum, i)
		if i+1 < len(w.steps) {
			w.put("jq -e -s 'any(.[]; .sha256? == \"%s\")' \"$T/page%d\" > /dev/null || wrong 'page %d names the next'", w.steps[i+1].ref.Sum, i, i)
			w.put("right 'page %d names the next'", i)
		}
	}
	last := len(w.steps) - 1
	w.put("sed -n %dp \"$T/page%d\" > \"$T/entry\"", w.line, last)
	if w.o.Entry.SHA256.IsZero() {
		w.put("jq . \"$T/entry\"")
		return
	}
	w.put("jq -e '.size == %d and .sha256 == \"%s\"' \"$T/entry\" > /dev/null || wrong 'size and hash of the entry'", w.o.Entry.Size, w.o.Entry.SHA256)
	w.put("right 'size and hash of the entry'")
	w.put("jq . \"$T/entry\"")
}

// content: the bytes.
func (w *writer) content() {
	e := w.o.Entry
	if e.SHA256.IsZero() {
		w.put("")
		w.say("5. The entry has no content.")
		return
	}
	w.put("")
	w.say("5. The content, piece by piece, has the hash of the entry.")
	w.put(": > \"$T/content\"")
	seen := map[format.Hash]bool{}
	sparse := e.Kind == format.KindImage || e.Sparse // its holes may be of terabytes, and its hash is no plain one
	for i, c := range e.Chunks {
		if c.Hole && sparse {
			continue
		}
		if c.Hole {
			w.put("head -c %d /dev/zero >> \"$T/content\"", c.Size)
			continue
		}
		name := format.PackName(c.Pack)
		if !seen[c.Pack] {
			seen[c.Pack] = true
			w.put("sum \"$V\"/%s %s 'pack %.12s'", quoted(name), c.Pack, c.Pack.String())
		}
		w.put("frame %s %d %d | tail -c +%d | head -c %d > \"$T/piece\"", quoted(name), c.Frame.Offset, c.Frame.Length, c.At+1, c.Size)
		if !c.Sum.IsZero() {
			w.put("sum \"$T/piece\" %s 'piece %d'", c.Sum, i)
		}
		if !sparse {
			w.put("cat \"$T/piece\" >> \"$T/content\"")
		}
	}
	if sparse {
		w.say("The hash of an image, or of a file with holes, is no plain SHA-256 (docs/format.md, 7): each piece was held against its own hash, which stands in")
		w.say("the entry, and what is between them is zeros.")
		return
	}
	w.put("sum \"$T/content\" %s 'the content'", e.SHA256)
}
