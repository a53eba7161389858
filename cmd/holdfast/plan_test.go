package main

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// requestsPerLock is what lengthening a lock asks: where it is, the lengthening, and how long it is now.
const requestsPerLock = 3

// foretold PLAN RUN demands that what `plan --json` said of one source in one vault is what `run --json` then did: requests within 2 %,
// bytes within 5 %, objects stored exactly, locks lengthened but for one. With `foretold most PLAN RUN` nothing was known of how well the source
// compresses, and no more than the most may have been stored.
func foretold(ts *testscript.TestScript, neg bool, args []string) {
	most := len(args) == 3 && args[0] == "most"
	if most {
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: foretold [most] PLAN RUN")
	}
	plan, run := firstLine(ts, args[0]), firstLine(ts, args[1])
	get := func(of map[string]any, field string) float64 {
		v, ok := of[field].(float64)
		if !ok {
			ts.Fatalf("%s has no number %s", of["source"], field)
		}
		return v
	}
	within := func(what string, said, was, share, besides float64) {
		ts.Logf("%s: foretold %.0f, was %.0f (%+.2f %%)", what, said, was, 100*(said-was)/max(was, 1))
		if math.Abs(said-was) > share*was+besides {
			ts.Fatalf("%s: foretold %.0f, was %.0f", what, said, was)
		}
	}
	within("bytes read", get(plan, "bytes_read"), get(run, "bytes_read"), 0, 0)
	// Which pages of the needs list stay as they are hangs on the names of new objects, which nobody knows: so whether the object they are
	// in is locked for longer, with three requests.
	off := requestsPerLock * math.Abs(get(plan, "locks_extended")-get(run, "locks_extended"))
	within("locks", get(plan, "locks_extended"), get(run, "locks_extended"), 0, 1)
	both := func(of map[string]any) float64 { return get(of, "requests") + get(of, "source_requests") }
	within("requests", both(plan), both(run), 0.02, off)
	if most {
		if s, m := get(run, "bytes_stored"), get(plan, "bytes_most"); s > m {
			ts.Fatalf("stored %.0f, and the most was foretold as %.0f", s, m)
		}
		return
	}
	within("objects", get(plan, "objects_stored"), get(run, "objects_stored"), 0, 0)
	within("requests to the vault", get(plan, "requests"), get(run, "requests"), 0.02, off)
	if get(run, "bytes_read") > 0 {
		within("bytes stored", get(plan, "bytes_stored"), get(run, "bytes_stored"), 0.05, 0)
	}
}

func firstLine(ts *testscript.TestScript, file string) (out map[string]any) {
	line, _, _ := strings.Cut(ts.ReadFile(file), "\n")
	ts.Check(json.Unmarshal([]byte(line), &out))
	return out
}
