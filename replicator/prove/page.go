package prove

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// quoted is a word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// plain is a text of others within a comment: on one line, and such that it steers no terminal.
func plain(s string) string {
	s = strconv.QuoteToASCII(s)
	return s[1 : len(s)-1]
}

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

// head is what the commands below it share. What keeps them from checking anything (a program, an object or a key that is not there or is
// too old) is told apart from what is wrong: whoever reads WRONG has to be able to rely on it.
const head = `set -eu
export LC_ALL=C
K=${K:?names no file with a restore key: K=FILE sh PAGE}
V=${V:-.}        # a folder with a copy of the stored objects that are named below
AGE=${AGE:-age}
right() { echo "right: $*"; }
wrong() { echo "WRONG: $*" >&2; exit 1; }
cannot() { echo "cannot be checked here: $*" >&2; exit 2; }
for p in sha256sum openssl zstd jq "$AGE"; do command -v "$p" > /dev/null || cannot "there is no program $p"; done
case $(openssl version) in OpenSSL\ [012].* | LibreSSL*) cannot "openssl 3.0 or newer is needed, and this is $(openssl version)" ;; esac
[ -r "$K" ] || cannot "no file $K can be read; K=FILE names one with a restore key"
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
there() { [ -r "$V/$1" ] || cannot "there is no copy of $1 in $V"; }
sum() { if [ "$(sha256sum < "$1" | cut -d ' ' -f 1)" = "$2" ]; then right "$3"; else wrong "$3"; fi; }
object() { there "$1"; sum "$V/$1" "$2" "$3"; }
opened=
frame() {
	if [ "$opened" != "$1" ]; then
		"$AGE" -d -i "$K" -o "$T/open" "$V/$1" 2> "$T/said" || { cat "$T/said" >&2; cannot "$AGE does not open $1 with $K: it is another restore key, or age is older than 1.3, which post-quantum restore keys need"; }
		opened=$1
	fi
	tail -c +$(($2 + 1)) "$T/open" | head -c "$3" | zstd -dcq 2> /dev/null > "$T/frame" || :
}
# signer DESCRIPTOR USE HINT: the public key of that use in a descriptor that HINT is of
signer() {
	for k in $(head -n 1 "$V/$1" | jq -r --arg use "$2" '.keys[] | select(.use == $use and .alg == "ed25519").key'); do
		printf %s "$k" | openssl base64 -d -A > "$T/key"
		case $(sha256sum < "$T/key") in "$3"*) { printf '\060\052\060\005\006\003\053\145\160\003\041\000'; cat "$T/key"; } > "$T/pub.der" ;; esac
	done
}
# signed DOMAIN: whether the key of signer signed the lines on standard input, as $T/sig says
signed() {
	{ printf 'holdfast/1/%s\0' "$1"; openssl dgst -sha256 -binary; } > "$T/msg"
	openssl pkeyutl -verify -pubin -keyform DER -inkey "$T/pub.der" -rawin -in "$T/msg" -sigfile "$T/sig" > /dev/null 2>&1
}
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
	if !e.SHA256.IsZero() {
		w.say("sha256      %s", e.SHA256)
	}
	w.say("")
	w.say("This page is a shell script that checks all of it, with sha256sum, openssl (3.0 or newer), zstd, jq, age%s and coreutils, and without", w.ageFrom())
	w.say("Holdfast. Read it, copy the stored objects below from the vault into a folder under the same names, and run it there: K=restore.key sh PAGE (V=FOLDER")
	w.say("for another folder). It ends with exit code 0 only if every line is right, with 1 where something is wrong, and with 2 where it cannot be checked there.")
	w.say("It shows what the point holds of the entry; that the source had it is for whoever made the point to say.")
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

// ageFrom is the version of age that the restore keys need; empty: any.
func (w *writer) ageFrom() string {
	if w.o.Repository.Now().Class == string(keys.Hybrid) {
		return " (1.3 or newer)"
	}
	return ""
}

// signature: descriptors, the point's signed name, the commit object.
func (w *writer) signature() {
	p := w.o.Point
	w.put("")
	w.say("1. The first descriptor is the one of the fingerprint. Each later one is signed by a key that the one before it lists: by an owner's, or, without owners, by")
	w.say("a job's.")
	chain := w.chain()
	for i, l := range chain {
		w.put("object %s %s 'descriptor %d'", quoted(l.Name), l.Sum, l.Number)
		if i == 0 {
			continue
		}
		id, err := format.ParseDescriptorName(l.Name)
		if err != nil {
			continue // it has that form, or it would be in no chain
		}
		use := format.UseJob
		if chain[i-1].Owned() {
			use = format.UseOwner
		}
		w.signed(chain[i-1:i], use, id.Hint, id.Signature, string(attest.DescriptorName), id.Message(w.o.Repository.ID), fmt.Sprintf("of descriptor %d", l.Number))
	}
	w.put("")
	w.say("2. The point's name is signed by the job key %s.. of a descriptor.", p.Hint)
	w.signed(chain, format.UseJob, p.Hint, p.Signature, string(attest.Point), fmt.Appendf(nil, "%s\n%s\n%s\n%s\n", w.o.Repository.ID, p.Source, stamp(p.Name), p.ID), "of the point")
	w.put("")
	w.say("3. The commit object has the hash that was signed, is of this repository, and names the root of the manifest.")
	w.put("object %s %s 'the commit object'", quoted(p.Name), p.ID)
	w.put("head -n 1 \"$V\"/%s | jq -e '.repository == \"%s\"' > /dev/null || wrong 'the repository of the commit object'", quoted(p.Name), w.o.Repository.ID)
	w.put("sed -n 2p \"$V\"/%s | jq -e '.manifest.sha256 == \"%s\"' > /dev/null || wrong 'the root that the commit object names'", quoted(p.Name), w.steps[0].ref.Sum)
	w.put("right 'the root that the commit object names'")
}

// signed has a signature checked with the key of a hint, which one of the descriptors lists.
func (w *writer) signed(by []repo.Link, use, hint string, signature []byte, domain string, message []byte, of string) {
	w.put(": > \"$T/pub.der\"")
	for _, l := range by {
		w.put("signer %s %s %s", quoted(l.Name), use, hint)
	}
	w.put("[ -s \"$T/pub.der\" ] || wrong 'no such key for the signature %s'", of)
	w.put("printf '%s' > \"$T/sig\"", octal(signature))
	lines := strings.Fields(string(message))
	w.put("printf '%s' %s | signed %s || wrong 'the signature %s'", strings.Repeat(`%s\n`, len(lines)), strings.Join(lines, " "), strings.TrimPrefix(domain, "holdfast/1/"), of)
	w.put("right 'the signature %s'", of)
}

// manifest: each page, and that it names the next.
func (w *writer) manifest() {
	w.put("")
	w.say("4. Each page of the manifest has the hash that the one above names, down to the entry.")
	for i, s := range w.steps {
		w.put("object %s %s 'the object of page %d'", quoted(s.ref.Object), sumOf(s.ref.Object), i)
		w.put("frame %s %d %d", quoted(s.ref.Object), s.ref.Frame.Offset, s.ref.Frame.Length)
		w.put("cat \"$T/frame\" > \"$T/page%d\"", i)
		w.put("sum \"$T/page%d\" %s 'page %d'", i, s.ref.Sum, i)
		if i+1 < len(w.steps) {
			w.put("jq -e -s 'any(.[]; .sha256? == \"%s\")' \"$T/page%d\" > /dev/null || wrong 'page %d names the next'", w.steps[i+1].ref.Sum, i, i)
			w.put("right 'page %d names the next'", i)
		}
	}
	last := len(w.steps) - 1
	w.put("sed -n %dp \"$T/page%d\" > \"$T/entry\"", w.line, last)
	e := w.o.Entry
	is := jqIs("key", e.Key) + " and " + jqIs("version_id", e.Version)
	what := "key of the entry"
	if !e.SHA256.IsZero() {
		is, what = is+fmt.Sprintf(` and .size == %d and .sha256 == "%s"`, e.Size, e.SHA256), "key, size and hash of the entry"
	}
	w.put("jq -e %s \"$T/entry\" > /dev/null || wrong '%s'", quoted(is), what)
	w.put("right '%s'", what)
	w.put("jq -a . \"$T/entry\"")
}

// jqIs compares a member of an entry in a program of jq. A text that is not UTF-8 stands in another member.
func jqIs(member, text string) string {
	if !utf8.ValidString(text) {
		return fmt.Sprintf(`.%s_b64 == "%s"`, member, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	return fmt.Sprintf(`(.%s // "") == %s`, member, jqText(text))
}

// jqText is a text as a program of jq has it, in ASCII.
func jqText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range utf16.Encode([]rune(s)) {
		if r >= ' ' && r < 0x7f && r != '"' && r != '\\' {
			b.WriteByte(byte(r))
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	b.WriteByte('"')
	return b.String()
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
			w.put("object %s %s 'pack %.12s'", quoted(name), c.Pack, c.Pack.String())
		}
		w.put("frame %s %d %d", quoted(name), c.Frame.Offset, c.Frame.Length)
		w.put("tail -c +%d \"$T/frame\" | head -c %d > \"$T/piece\"", c.At+1, c.Size)
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
