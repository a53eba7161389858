package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/store/storetest/programs"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// shared are the S3 servers of all tests here, started when first asked for.
var shared servers.Pool

type pooled struct{ m *testing.M }

func (p pooled) Run() int { return shared.Run(p.m) }

// TestMain makes the program itself a command of the scripts, and one more that waits for a signal.
func TestMain(m *testing.M) {
	testscript.Main(pooled{m}, map[string]func(){
		"holdfast": holdfast,
		"waiter":   waiter,
		"nbdget":   nbdget,
	})
}

// holdfast is the program as it is, but for what is set up on this machine.
func holdfast() {
	os.Exit(realMain(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, "/nowhere/holdfast"))
}

// TestScript runs testdata/script/*.txtar: every command against directories. Every fault of the command line that was
// ever found becomes a line there.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Files:               scripts(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               bare,
		Cmds:                scriptCommands(t),
		Condition:           conditions,
		UpdateScripts:       *update,
	})
}

// scripts lists the scripts of TestScript. With -short those stay out that hold what is said of bad input, of keys and of
// foreign repositories: they start the program hundreds of times, each time for a file or two, and so have nothing to show a
// race detector that the others have not.
func scripts(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	if testing.Short() {
		words := []string{
			"another-descriptor", "completion", "config", "draft", "in-the-way", "keychange", "keygen", "keyowner", "later", "names",
			"no-descriptor", "once", "pins", "policy", "reader", "secrets", "shortform", "spans", "trusted", "usage", "vector-repository", "version",
		}
		all = slices.DeleteFunc(all, func(p string) bool {
			name := strings.TrimSuffix(filepath.Base(p), ".txtar")
			return strings.HasPrefix(name, "bad-") || slices.Contains(words, name)
		})
	}
	return all
}

var update = flag.Bool("update", false, "rewrite the golden files in the scripts")

// conditions adds [mount]: whether a file system can be mounted here, and [has:PROGRAM]: whether there is a program.
func conditions(cond string) (bool, error) {
	if cond == "mount" {
		return canMount(), nil
	}
	if name, ok := strings.CutPrefix(cond, "has:"); ok {
		_, err := programs.Find(name)
		if err != nil && programs.Demanded() {
			return false, err
		}
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %s", cond)
}

type scriptCommand = func(*testscript.TestScript, bool, []string)

func scriptCommands(t *testing.T) map[string]scriptCommand {
	all := badCommands()
	maps.Copy(all, receiverCommands())
	maps.Copy(all, map[string]scriptCommand{
		"exits":   exits,
		"mode":    mode,
		"expand":  expand,
		"json":    checkJSON,
		"save":    save,
		"flip":    flip,
		"hang":    hang,
		"reader":  reader,
		"byhand":  byHand,
		"proof":   proof,
		"sameday": sameDay,

		"oddbucket": oddBucket(t),
		"disks":     (&cloud{srv: map[string]*awstest.Server{}}).command,

		"machines": (&cloud{srv: map[string]*awstest.Server{}}).machines,
	})
	return all
}

// bare sees to it that nothing of the machine shows: neither its configuration nor its credentials.
func bare(e *testscript.Env) error {
	e.Setenv("HOME", e.WorkDir+"/home")
	e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/xdg")
	e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/cache")
	e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		return err
	}
	e.Setenv("DOCS", docs)
	withTranscript(e)
	withReceivers(e)
	return os.MkdirAll(e.WorkDir+"/home", 0o700)
}

// exits CODE COMMAND... runs a command and demands exactly that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var e *exec.ExitError
	if errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d instead of %s", code, args[0])
	}
}

// mode FILE OCTAL demands a file's mode.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE OCTAL")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s instead of %s", args[0], got, args[1])
	}
}

// expand FROM TO writes a file with ${VARIABLES} and ${file:NAME}s filled in.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: expand FROM TO")
	}
	text := os.Expand(ts.ReadFile(args[0]), func(name string) string {
		if file, ok := strings.CutPrefix(name, "file:"); ok {
			return strings.TrimSpace(ts.ReadFile(file))
		}
		if ts.Getenv(name) == "" && name != "MORE" {
			ts.Fatalf("%s: $%s is not set", args[0], name)
		}
		return ts.Getenv(name)
	})
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// sameDay waits, in the last two minutes of a day of UTC, until the next has begun: what follows is of one day.
func sameDay(ts *testscript.TestScript, _ bool, _ []string) {
	const most = 2 * time.Minute
	if left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)); left < most {
		time.Sleep(left)
	}
}

// flip GLOB AT changes one bit, from the end if AT is negative, of every file that the pattern matches. Writing a fixed byte
// instead would change nothing where that byte stands already.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip GLOB AT")
	}
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	from, err := strconv.Atoi(args[1])
	ts.Check(err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		ts.Check(err)
		at := from
		if at < 0 {
			at += len(b)
		}
		if at < 0 || at >= len(b) {
			ts.Fatalf("%s has %d bytes only", file, len(b))
		}
		b[at] ^= 1
		ts.Check(os.Chmod(file, 0o600))
		ts.Check(os.WriteFile(file, b, 0o600))
	}
}

// objects reads lines of JSON objects strictly.
func objects(text string) ([]map[string]any, error) {
	var out []map[string]any
	for line := range strings.Lines(text) {
		d := json.NewDecoder(bytes.NewReader([]byte(line)))
		d.UseNumber()
		var o map[string]any
		if err := d.Decode(&o); err != nil || d.More() || o == nil {
			return nil, fmt.Errorf("not one JSON object: %q (%v)", line, err)
		}
		out = append(out, o)
	}
	return out, nil
}

var condition = regexp.MustCompile(`^(!?)([a-z0-9_.]+)(?:(=|~|>|<)(.*))?$`)

// checkJSON FILE LINE CONDITION... demands that FILE (stdout, stderr, ..) is lines of JSON objects and that LINE (a number from 1,
// last, each, any, or count=N for their number alone) has what the conditions say: FIELD is there, !FIELD is not,
// FIELD=VALUE, FIELD~REGEXP, FIELD>NUMBER, FIELD<NUMBER. A field is a path with dots.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: json FILE LINE CONDITION...")
	}
	lines, err := objects(ts.ReadFile(args[0]))
	ts.Check(err)
	if want, ok := strings.CutPrefix(args[1], "count="); ok {
		if fmt.Sprint(len(lines)) != want {
			ts.Fatalf("%d lines instead of %s", len(lines), want)
		}
		args = append(args[:1], append([]string{"each"}, args[2:]...)...)
	}
	picked := pick(ts, lines, args[1])
	var why string
	for _, o := range picked {
		why = ""
		for _, c := range args[2:] {
			if w := holds(ts, o, c); w != "" {
				why = w
				break
			}
		}
		if why != "" && args[1] != "any" {
			ts.Fatalf("%s", why)
		}
		if why == "" && args[1] == "any" {
			return
		}
	}
	if args[1] == "any" {
		ts.Fatalf("no line holds it; the last: %s", why)
	}
}

func pick(ts *testscript.TestScript, lines []map[string]any, which string) []map[string]any {
	switch which {
	case "each", "any":
		return lines
	case "last":
		which = strconv.Itoa(len(lines))
	}
	n, err := strconv.Atoi(which)
	ts.Check(err)
	if n < 1 || n > len(lines) {
		ts.Fatalf("there are %d lines, none with number %d", len(lines), n)
	}
	return lines[n-1 : n]
}

func field(o map[string]any, path string) (any, bool) {
	name, rest, deeper := strings.Cut(path, ".")
	v, ok := o[name]
	if !ok || !deeper {
		return v, ok
	}
	inner, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	return field(inner, rest)
}

func holds(ts *testscript.TestScript, o map[string]any, c string) string {
	m := condition.FindStringSubmatch(c)
	if m == nil {
		ts.Fatalf("bad condition %q", c)
	}
	v, ok := field(o, m[2])
	if m[1] == "!" {
		if ok {
			return fmt.Sprintf("%s is there: %v", m[2], v)
		}
		return ""
	}
	if !ok {
		return fmt.Sprintf("%s is not there: %v", m[2], o)
	}
	got := fmt.Sprint(v)
	a, errA := strconv.ParseFloat(got, 64)
	b, errB := strconv.ParseFloat(m[4], 64)
	good := true
	switch m[3] {
	case "=":
		good = got == m[4]
	case "~":
		good = regexp.MustCompile(m[4]).MatchString(got)
	case ">":
		good = errA == nil && errB == nil && a > b
	case "<":
		good = errA == nil && errB == nil && a < b
	}
	if !good {
		return fmt.Sprintf("%s is %s; wanted %s", m[2], got, c)
	}
	return ""
}

// save VARIABLE LINE FIELD keeps a field of standard output's JSON.
func save(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: save VARIABLE LINE FIELD")
	}
	lines, err := objects(ts.ReadFile("stdout"))
	ts.Check(err)
	v, ok := field(pick(ts, lines, args[1])[0], args[2])
	if !ok {
		ts.Fatalf("there is no field %s", args[2])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}
