package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// This file is what the bad-*.txtar scripts are written with. Each script is a list of bad inputs; what the program says to
// each is written down, with what differs from run to run taken out, and held against the script's golden file, so that
// every message is reviewed like code. `go test -run TestScript/bad -update` rewrites them.

// transcript is what a script's commands said so far.
type transcript struct {
	text strings.Builder
	hurt map[string]spoilt // by file
}

// spoilt is a file of a vault as it was.
type spoilt struct {
	body []byte
	at   time.Time
}

type transcriptKey struct{}

func withTranscript(e *testscript.Env) {
	e.Values[transcriptKey{}] = &transcript{hurt: map[string]spoilt{}}
}

func transcriptOf(ts *testscript.TestScript) *transcript {
	return ts.Value(transcriptKey{}).(*transcript)
}

func badCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"world":      makeWorld,
		"say":        say,
		"try":        try,
		"transcript": showTranscript,
		"damage":     damage,
		"collide":    collide,
		"later":      later,
		"tinydisk":   tinyDisk,
		"weakly":     weakly,
		"restored":   restored,
	}
}

// makeWorld makes a restore key, a configuration, a directory vault and two recovery points, with a pack each.
func makeWorld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: world")
	}
	for name, text := range map[string]string{
		"data/one.txt": "some text\n", "data/sub/two.txt": "other text\n", "data/sub/empty": "",
		"holdfast.yaml": "vaults:\n  - {name: disk, url: \"file://" + ts.MkAbs("vault") + "\"}\n" +
			"keys: {recipients: [RECIPIENT], owners: [OWNER], host: host.key}\n" +
			"sources:\n  - {name: site, url: \"file://" + ts.MkAbs("data") + "\"}\n",
	} {
		writeFile(ts, name, text)
	}
	run := func(args ...string) { ts.Check(ts.Exec("holdfast", args...)) }
	run("keygen", "--classic", "--out", "restore.key")
	ids, err := keys.ParseIdentities([]byte(ts.ReadFile("restore.key")))
	ts.Check(err)
	named := strings.NewReplacer("RECIPIENT", strings.TrimSpace(ts.ReadFile("stdout")), "OWNER", keys.OwnerOf(ids[0]).String())
	writeFile(ts, "holdfast.yaml", named.Replace(ts.ReadFile("holdfast.yaml")))
	for run("init"); !onePage(ts, "later.txt", "one.txt", "sub/", "sub/empty", "sub/two.txt"); run("init") {
		for _, made := range []string{"vault", "cache", "host.key"} {
			ts.Check(os.RemoveAll(ts.MkAbs(made)))
		}
	}
	run("run")
	writeFile(ts, "data/later.txt", "later text\n")
	run("run")
}

// onePage reports whether the host key cuts no page between keys: what is said of a lost page depends on it.
func onePage(ts *testscript.TestScript, all ...string) bool {
	h, err := keys.ParseHostKey([]byte(ts.ReadFile("host.key")))
	ts.Check(err)
	cut := tree.NewCut(h.ChunkKey, format.DefaultParameters())
	return !slices.ContainsFunc(all, func(key string) bool { return cut.LeafBefore(key, false, 1, 0) })
}

func writeFile(ts *testscript.TestScript, name, text string) {
	name = ts.MkAbs(name)
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o700))
	ts.Check(os.WriteFile(name, []byte(text), 0o600))
}

// say TEXT... writes a heading into the transcript.
func say(ts *testscript.TestScript, neg bool, args []string) {
	fmt.Fprintf(&transcriptOf(ts).text, "\n== %s\n", strings.Join(args, " "))
}

// try CODE COMMAND... runs a command that is to end with that exit code, and writes down what it said. It is run once more
// with --json, whose lines must be JSON and whose code must be the same; where the second run would not meet the same
// fault, or standard output is a stream, -once before CODE leaves that out.
func try(ts *testscript.TestScript, neg bool, args []string) {
	again := true
	if len(args) > 0 && args[0] == "-once" {
		again, args = false, args[1:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: try [-once] CODE COMMAND...")
	}
	demandCode(ts, attempt(ts, again, args[1:]), args[0])
}

// demandCode ends the script on another exit code, or when golden files are rewritten says so: the rest is of use then.
func demandCode(ts *testscript.TestScript, code int, want string) {
	switch {
	case fmt.Sprint(code) == want:
	case *update:
		ts.Logf("WRONG: exit code %d instead of %s", code, want)
	default:
		ts.Fatalf("exit code %d instead of %s", code, want)
	}
}

func attempt(ts *testscript.TestScript, again bool, args []string) int {
	t := transcriptOf(ts)
	code := runAny(ts, args)
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if strings.HasSuffix(strings.Join(args, " "), "--to -") {
		stdout = "" // a stream
	}
	fmt.Fprintf(&t.text, "\n$ %s\n", steady(ts, strings.Join(args, " ")))
	for line := range strings.Lines(inOrder(steady(ts, stdout))) {
		fmt.Fprintf(&t.text, "| %s", line)
	}
	t.text.WriteString(inOrder(steady(ts, stderr)))
	presentable(ts, stdout+stderr)
	name := ""
	if again {
		if c := runAny(ts, append(slices.Clone(args), "--json")); c != code {
			ts.Fatalf("exit code %d with --json, %d without", c, code)
		}
		if _, err := objects(ts.ReadFile("stdout")); err != nil {
			ts.Fatalf("standard output: %v", err)
		}
		lines, err := objects(ts.ReadFile("stderr"))
		if err != nil {
			ts.Fatalf("standard error: %v", err)
		}
		if code != 0 {
			last := lines[len(lines)-1]
			if last["error"] == nil || last["code"] == nil {
				ts.Fatalf("the last line is no error: %v", last)
			}
			name = fmt.Sprintf(" %v", last["code"])
		}
		presentable(ts, ts.ReadFile("stdout")+ts.ReadFile("stderr"))
	}
	fmt.Fprintf(&t.text, "[exit %d%s]\n", code, name)
	if i := slices.Index(args, "--to"); i >= 0 && i+1 < len(args) && slices.Contains(args, "restore") && !strings.HasPrefix(args[i+1], "s3:") {
		nothingHalf(ts, strings.TrimPrefix(args[i+1], "file://"))
	}
	return code
}

// runAny runs a command and gives its exit code, whatever it is.
func runAny(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	ts.Check(err)
	return 0
}

// presentable demands what holds of every message: no secret, no Go value that was not meant to be printed, no crash.
func presentable(ts *testscript.TestScript, text string) {
	if secretForm.MatchString(text) {
		ts.Fatalf("a secret was printed")
	}
	for _, bad := range []string{"%!", "panic:", "goroutine ", "<nil>", "0xc0", "runtime error"} {
		if strings.Contains(text, bad) {
			ts.Fatalf("%q was printed", bad)
		}
	}
}

var secretForm = regexp.MustCompile(`AGE-SECRET-KEY-(PQ-)?1[A-Z0-9]|holdfast-host-key-1\n|wJalrXUtnFEMI`)

// nothingHalf demands that whatever lies in a target folder is a whole file of the world's data, under its own name.
func nothingHalf(ts *testscript.TestScript, target string) {
	root, data := ts.MkAbs(target), ts.MkAbs("data")
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		switch d.Name() { // the marks of a restore that will go on, and of a folder that has not its own attributes yet
		case ".holdfast-part-unfinished", ".holdfast-part-folder":
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if want, err := os.ReadFile(filepath.Join(data, rel)); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%s was left behind at the target, and is no whole file of the source", rel)
		}
		return nil
	})
	ts.Check(err)
}

// restored DIR demands that DIR holds all of the world's data.
func restored(ts *testscript.TestScript, neg bool, args []string) {
	nothingHalf(ts, args[0])
	ts.Check(ts.Exec("diff", "-r", "data", args[0]))
}

// showTranscript gives what was written down to `cmp stdout golden`.
func showTranscript(ts *testscript.TestScript, neg bool, args []string) {
	t := transcriptOf(ts)
	_, err := io.WriteString(ts.Stdout(), strings.TrimPrefix(t.text.String(), "\n"))
	ts.Check(err)
	t.text.Reset()
}

var changing = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "HOST"},
	{regexp.MustCompile(`\b([0-9a-f]{4} ){7}[0-9a-f]{4}\b`), "SHORT"},
	{regexp.MustCompile(`age1[0-9a-z]{50,}`), "RECIPIENT"},
	{regexp.MustCompile(`age1[0-9a-z]{10,}\.\.`), "age1.."},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{128}\b`), "HINT-SIGNATURE"},
	{regexp.MustCompile(`\b[0-9a-f]{128}\b`), "SIGNATURE"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`\b(packs|meta|needs)/[0-9a-f]{2}\b`), "$1/HH"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "HASH16"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "HASH12"},
	{regexp.MustCompile(`\b20\d{6}T\d{6}Z\b`), "STAMP"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d\b`), "DATE"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (B|KiB|MiB|GiB)\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+(\.\d+)? bytes\b`), "N bytes"},
	{regexp.MustCompile(`\b\d+\.\d s\b`), "N s"},
	// How many pages and so objects there are hangs on the keys, which are others each time.
	{regexp.MustCompile(`\b[1-9]\d* (missing|damaged|tampered|stored object|object|things?|entries cannot)s?\b`), "N $1"},
	{regexp.MustCompile(`the first is "[^"]*"`), `the first is ".."`},
	{regexp.MustCompile(`\b\d+ of \d+ entries decrypted`), "N of N entries decrypted"},
	{regexp.MustCompile(`instead of \d+`), "instead of N"},
	{regexp.MustCompile(`(?m)^.*entries from "[^"]*" on cannot be read.*\n`), ""},
	{regexp.MustCompile(`manifest (page from here on|from its beginning)`), "manifest from .."},
	{regexp.MustCompile(`(to do; restored) \d+ entr(y|ies)`), "$1 N entries"},
	{regexp.MustCompile(`\b\d+ things are`), "N things are"},
	{regexp.MustCompile(`one thing is not as it was`), "N things are not as they were"},
	{regexp.MustCompile(`\b\d+ tries in [0-9a-zµ.]+`), "N tries in TIME"},
	{regexp.MustCompile(`version [0-9A-Za-z-]{20,}`), "version VERSION"},
	{regexp.MustCompile(`RequestID: [^,]*, HostID: [^,]*`), "RequestID: .., HostID: .."},
	{regexp.MustCompile(`/[^ ]*/script-[^/ ]*`), "$$WORK"},
	{regexp.MustCompile(` {2,}`), "  "},
}

// steady takes out of a text what is another in every run.
func steady(ts *testscript.TestScript, s string) string {
	s = strings.ReplaceAll(s, ts.MkAbs("$WORK"), "$WORK")
	s = strings.ReplaceAll(s, ts.Getenv("WORK"), "$WORK")
	if c := ts.Getenv("COLLIDING"); c != "" {
		s = regexp.MustCompile(`\b`+c+`\b`).ReplaceAllString(s, "COLLIDING")
	}
	for _, v := range []string{"SRC", "VAULT", "TARGET"} {
		if b := ts.Getenv(v + "_BUCKET"); b != "" {
			s = strings.ReplaceAll(s, b, v)
		}
	}
	for _, c := range changing {
		s = c.form.ReplaceAllString(s, c.as)
	}
	return s
}

var unordered = regexp.MustCompile(`^(holdfast: warning|damaged|missing|tampered|unlocked): `)

// inOrder puts warnings and findings that follow one another in order, each once: they come from many hands, of many objects.
func inOrder(s string) string {
	lines := strings.SplitAfter(s, "\n")
	for i := 0; i < len(lines); i++ {
		j := i
		for j < len(lines) && unordered.MatchString(lines[j]) {
			j++
		}
		slices.Sort(lines[i:j])
		once := slices.Compact(slices.Clone(lines[i:j]))
		lines = slices.Replace(lines, i, j, once...)
		i += len(once)
	}
	return strings.Join(lines, "")
}

// damage KIND hurts the world's vault in one kind of object in three ways, writes down what every command says to that,
// and demands that nothing of it is taken for whole, and that all is well again once the object is.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage pack|page|index|needs|placements|descriptor|hostkey|commit")
	}
	kind := args[0]
	for _, how := range []string{"flipped", "truncated", "gone"} {
		say(ts, false, []string{kind, how})
		ts.Check(os.RemoveAll(ts.MkAbs("vault")))
		ts.Check(os.RemoveAll(ts.MkAbs("cache")))
		if _, err := os.Stat(ts.MkAbs("pristine")); err != nil {
			ts.Fatalf("make a copy of the vault first: exec cp -a vault pristine; exec cp -a cache pristine-cache")
		}
		ts.Check(ts.Exec("cp", "-a", "pristine", "vault"))
		ts.Check(ts.Exec("cp", "-a", "pristine-cache", "cache"))
		hurtObject(ts, kind, how)
		again := how == "flipped"
		look := func(args ...string) int { return attempt(ts, again, append([]string{"holdfast"}, args...)) }
		if again || kind == "page" || kind == "commit" {
			look("points", "--quiet")
			look("ls", "site@latest")
			look("verify")
		}
		look("verify", "--level", "locks")
		// Placements serve the writer only, and no point needs them: the run notices.
		if look("verify", "--identity", "restore.key") == exitDone && kind != "placements" && !(kind == "commit" && how == "gone") {
			ts.Fatalf("a %s that is %s was not noticed", kind, how)
		}
		out := "out-" + how
		if code := look("restore", "site@latest", "--to", out, "--identity", "restore.key"); (code == exitDone || code == exitAlarm) && kind != "commit" {
			restored(ts, false, []string{out})
		}
		if kind == "descriptor" || kind == "hostkey" {
			look("init")
			look("key", "recover", "--identity", "restore.key", "--out", "recovered.key", "--yes")
		}
		again = false
		if kind == "placements" || kind == "index" { // a run with its cache folds what it knows, and nobody reads them any more
			ts.Check(os.RemoveAll(ts.MkAbs("cache")))
		}
		// Every file is looked at again, so that what is written does not hang on how long ago the last run was.
		ts.Check(ts.Exec("find", "data", "-exec", "chmod", "u+w", "{}", "+"))
		if look("run") == exitDone && (kind == "descriptor" || kind == "index" || kind == "placements" && how != "gone") {
			ts.Fatalf("a run does not notice a %s that is %s", kind, how)
		}
		ts.Check(os.RemoveAll(ts.MkAbs("cache")))
		ts.Check(ts.Exec("find", "data", "-exec", "chmod", "u+w", "{}", "+"))
		if code := look("run"); code == exitDone && kind == "descriptor" {
			ts.Fatalf("a %s that is %s was not noticed without a cache", kind, how)
		}
		mend(ts)
		for _, good := range [][]string{
			{"run", "--quiet"},
			{"verify", "--identity", "restore.key"},
			{"restore", "site@latest", "--to", "good-" + how, "--identity", "restore.key"},
		} {
			if code := runAny(ts, append([]string{"holdfast"}, good...)); code != exitDone {
				ts.Fatalf("after the %s was mended, %s gives %d", kind, good[0], code)
			}
		}
		restored(ts, false, []string{"good-" + how})
	}
}

// hurtObject damages one object of the vault, leaving its time as it was.
func hurtObject(ts *testscript.TestScript, kind, how string) {
	file := objectOf(ts, kind)
	info, err := os.Stat(file)
	ts.Check(err)
	body, err := os.ReadFile(file)
	ts.Check(err)
	transcriptOf(ts).hurt[file] = spoilt{bytes.Clone(body), info.ModTime()}
	ts.Check(os.Remove(file))
	switch how {
	case "gone":
		return
	case "truncated":
		body = body[:len(body)/2]
	case "flipped":
		body[len(body)*2/3] ^= 0x10
	default:
		ts.Fatalf("unknown damage %s", how)
	}
	ts.Check(os.WriteFile(file, body, 0o600))
	ts.Check(os.Chtimes(file, info.ModTime(), info.ModTime()))
}

// mend puts back what hurtObject took.
func mend(ts *testscript.TestScript) {
	t := transcriptOf(ts)
	for file, was := range t.hurt {
		ts.Check(os.RemoveAll(file))
		ts.Check(os.WriteFile(file, was.body, 0o600))
		ts.Check(os.Chtimes(file, was.at, was.at))
	}
	clear(t.hurt)
}

// objectOf finds the file of one object: the first run's pack, what the newest point's roots lie in, the first of the rest.
func objectOf(ts *testscript.TestScript, kind string) string {
	vault := ts.MkAbs("vault")
	glob := func(pattern string) []string {
		files, err := filepath.Glob(filepath.Join(vault, pattern))
		ts.Check(err)
		if len(files) == 0 {
			ts.Fatalf("nothing matches %s", pattern)
		}
		return files
	}
	switch kind {
	case "pack":
		files := glob("packs/*/*")
		return slices.MinFunc(files, func(a, b string) int { return modified(ts, a).Compare(modified(ts, b)) })
	case "page":
		return filepath.Join(vault, newestCommit(ts).Manifest.Object)
	case "needs":
		return filepath.Join(vault, newestCommit(ts).Needs.Object)
	case "index":
		// That of the first run: beside it are pages that only the older point needs.
		files := glob("meta/*/*")
		first := slices.MinFunc(files, func(a, b string) int { return modified(ts, a).Compare(modified(ts, b)) })
		if !bytes.Contains(opened(ts, first), []byte(`"kind":"index"`)) {
			ts.Fatalf("no index segment")
		}
		return first
	case "placements":
		// The newest one: it takes in those before it, which nobody reads any more.
		return slices.MaxFunc(glob("placements/*/*"), func(a, b string) int { return modified(ts, a).Compare(modified(ts, b)) })
	case "descriptor":
		return glob("descriptors/*")[0]
	case "hostkey":
		return glob("keys/*")[0]
	case "commit":
		return slices.MaxFunc(glob("points/site/*"), func(a, b string) int { return modified(ts, a).Compare(modified(ts, b)) })
	}
	ts.Fatalf("unknown kind of object %s", kind)
	return ""
}

func modified(ts *testscript.TestScript, file string) time.Time {
	info, err := os.Stat(file)
	ts.Check(err)
	return info.ModTime()
}

func newestCommit(ts *testscript.TestScript) *format.Commit {
	b, err := os.ReadFile(objectOf(ts, "commit"))
	ts.Check(err)
	c, err := format.DecodeCommit(b)
	ts.Check(err)
	return c
}

// opened is what a metadata object holds, in the clear.
func opened(ts *testscript.TestScript, file string) []byte {
	h, err := keys.ReadHostKeyFile(ts.MkAbs("host.key"))
	ts.Check(err)
	b, err := os.ReadFile(file)
	ts.Check(err)
	frames, err := seal.Open(bytes.NewReader(b), h.Metadata)
	ts.Check(err)
	z, err := zstd.NewReader(frames)
	ts.Check(err)
	defer z.Close()
	plain, err := io.ReadAll(z)
	ts.Check(err)
	return plain
}

// collide adds two points whose IDs begin with the same four digits, which it sets $COLLIDING to.
func collide(ts *testscript.TestScript, neg bool, args []string) {
	h, err := keys.ReadHostKeyFile(ts.MkAbs("host.key"))
	ts.Check(err)
	c := newestCommit(ts)
	put := func(deleted int64) {
		c.Deleted = deleted
		body, err := format.EncodeCommit(c)
		ts.Check(err)
		sum := format.Hash(sha256.Sum256(body))
		writeFile(ts, "vault/"+signedPoint(h, c, sum), string(body))
	}
	seen := map[string]int64{}
	for n := int64(1); ; n++ {
		c.Deleted = n
		body, err := format.EncodeCommit(c)
		ts.Check(err)
		four := format.Hash(sha256.Sum256(body)).String()[:4]
		if other, ok := seen[four]; ok {
			put(other)
			put(n)
			ts.Setenv("COLLIDING", four)
			return
		}
		seen[four] = n
	}
}

// signedPoint signs for a point.
func signedPoint(h *keys.HostKey, c *format.Commit, id format.Hash) string {
	p := format.PointID{Source: c.Source, SignedAt: c.SignedAt, ID: id, Hint: format.KeyHint(h.Public())}
	p.Signature = attest.Sign(h.Signing, attest.Point, p.Message(c.Repository))
	return p.Name()
}

// later version|feature adds a point that a pretended later version of the program wrote on this machine: the newest one's
// head, a second after it, with a body of a shape of its own.
func later(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: later version|feature")
	}
	h, err := keys.ReadHostKeyFile(ts.MkAbs("host.key"))
	ts.Check(err)
	b, err := os.ReadFile(objectOf(ts, "commit"))
	ts.Check(err)
	c, err := format.DecodeCommit(b)
	if c == nil {
		ts.Check(err)
	}
	was := c.SignedAt.UTC().Format("2006-01-02T15:04:05Z")
	c.SignedAt = format.At(c.SignedAt.Add(time.Second))
	head := b[:bytes.IndexByte(b, '\n')+1]
	for from, to := range map[string]string{
		`"signed_at":"` + was:         `"signed_at":"` + c.SignedAt.UTC().Format("2006-01-02T15:04:05Z"),
		`"format":"` + format.Version: `"format":"` + map[string]string{"version": "2", "feature": format.Version}[args[0]],
		`"kind":"point"`:              `"kind":"point"` + map[string]string{"feature": `,"requires":["colours"]`}[args[0]],
	} {
		head = bytes.Replace(head, []byte(from), []byte(to), 1)
	}
	body := append(head, "{\"colours\":[\"red\"],\"manifest\":\"elsewhere\"}\n"...)
	sum := format.Hash(sha256.Sum256(body))
	name := signedPoint(h, c, sum)
	writeFile(ts, "vault/"+name, string(body))
	ts.Check(os.Chtimes(ts.MkAbs("vault/"+name), time.Time{}, c.SignedAt.Add(time.Second)))
	ts.Setenv("LATER", sum.String())
}

// weakly CODE COMMAND... is try without root's right to pass over file modes.
func weakly(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: weakly CODE COMMAND...")
	}
	command := args[1:]
	if os.Geteuid() == 0 {
		command = append([]string{"setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"}, command...)
	}
	demandCode(ts, attempt(ts, true, command), args[0])
}
