package guard_test

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"time"
)

// history is what happens to a source, a run a day. step is told the number of days since the history began, and whether this
// is the day on which it happens, or how many days later.
type history struct {
	name     string
	days     int                       // how many runs; 0: as many as usual
	begin    func(w *world)            // instead of settle; may be nil
	quiet    bool                      // nothing happens but step
	step     func(w *world, after int) // after < 0: it is still to come
	alone    bool                      // something happens on all days before
	versions bool                      // of a bucket that keeps every version
	rule     string                    // of attacks: what has to name it; empty: anything
	slow     bool                      // an attack that may take a week to be seen
}

func under(folder string) func(string) bool {
	return func(n string) bool { return strings.HasPrefix(n, folder+"/") }
}

func hasExt(exts ...string) func(string) bool {
	return func(n string) bool {
		for _, e := range exts {
			if path.Ext(n) == e {
				return true
			}
		}
		return false
	}
}

// once does something on the day.
func once(do func(w *world)) func(*world, int) {
	return func(w *world, after int) {
		if after == 0 {
			do(w)
		}
	}
}

// ordinary is what all days have in common.
var ordinary = history{name: "ordinary days", step: func(*world, int) {}}

// benign are histories in which nobody does harm. What owners of data do in bulk is among them. Those of real releases are
// in modules_test.go.
func benign() []history {
	return []history{
		{name: "steady growth", step: ordinary.step},
		{name: "weekly batch", alone: true, step: weeklyBatch},
		{name: "seasonal clean-up", step: once(cleanUp)},
		{name: "migration to another folder", step: once(func(w *world) { w.move("uploads", "media/uploads") })},
		{name: "logs are compressed from now on", step: once(compressLogs)},
		{name: "content compressed under its name", step: once(compressInPlace)},
		{name: "key rotation by the owner", step: once(rotateKeys)},
		{name: "log rotation", alone: true, step: rotateLogs},
		{name: "photos are encoded again", step: once(encodeAgain)},
		{name: "a folder is restored", step: restoreFolder},
		{name: "dated folders that expire", alone: true, step: datedFolders},
		{name: "all sources are formatted", step: once(formatAll)},
	}
}

// weeklyBatch: reports of the week are written on Sundays, many of them, and those of a month ago go.
func weeklyBatch(w *world, _ int) {
	if w.now.Weekday() != time.Sunday {
		return
	}
	folder := func(at time.Time) string { y, n := at.ISOWeek(); return fmt.Sprintf("reports/%d-w%02d", y, n) }
	for i := range 150 {
		w.put(fmt.Sprintf("%s/r%03d.csv", folder(w.now), i), w.csv(1500+w.rnd.IntN(3000)))
	}
	for _, n := range w.names(under(folder(w.now.AddDate(0, 0, -28)))) {
		delete(w.files, n)
	}
}

// cleanUp: what is over a year old goes from two folders, which is a good part of all there is.
func cleanUp(w *world) {
	for _, n := range w.names(func(n string) bool { return under("uploads")(n) || under("data")(n) }) {
		if w.now.Sub(w.files[n].modified) > 365*24*time.Hour {
			delete(w.files, n)
		}
	}
}

// move gives all files of a folder another place; the times of objects are those of the copy.
func (w *world) move(from, to string) {
	for _, n := range w.names(under(from)) {
		w.put(to+strings.TrimPrefix(n, from), w.files[n].body)
		delete(w.files, n)
	}
}

func compressLogs(w *world) {
	for _, n := range w.names(hasExt(".log")) {
		w.put(n+".gz", w.gzip(w.files[n].body))
		delete(w.files, n)
	}
}

// compressInPlace: objects are put again under the same names with Content-Encoding: gzip.
func compressInPlace(w *world) {
	for _, n := range w.names(hasExt(".json")) {
		w.put(n, w.gzip(w.files[n].body))
	}
}

// rotateKeys: a backup program encrypts all its files to a new key.
func rotateKeys(w *world) {
	for i := range 400 {
		if n := fmt.Sprintf("backups/vault/p%04d.age", i); w.files[n] == nil {
			w.put(n, w.sealed(4000))
		}
	}
	for _, n := range w.names(hasExt(".age")) {
		w.put(n, w.sealed(len(w.files[n].body)-89))
	}
}

// rotateLogs: forty services, each with a log that is given away each night, and three older ones.
func rotateLogs(w *world, _ int) {
	for s := range 40 {
		at := func(i int) string { return fmt.Sprintf("logs/svc%02d/app.log.%d.gz", s, i) }
		for i := 3; i > 1; i-- {
			if f := w.files[at(i-1)]; f != nil {
				w.files[at(i)] = f
			}
		}
		live, last := fmt.Sprintf("logs/svc%02d/app.log", s), fmt.Sprintf("logs/svc%02d/app.log.0", s)
		if f := w.files[last]; f != nil {
			w.put(at(1), w.gzip(f.body))
		}
		if f := w.files[live]; f != nil {
			w.files[last] = f
		}
		delete(w.files, live)
		if s%4 > 0 { // the others had nothing to say yet
			w.put(live, w.log(500+w.rnd.IntN(3000)))
		}
	}
}

// encodeAgain: all photos are made smaller.
func encodeAgain(w *world) {
	for _, n := range w.names(hasExt(".jpg")) {
		w.put(n, w.photo(48+w.rnd.IntN(80), 70))
	}
}

// restoreFolder: a folder that somebody lost is put back two days later, with older states of some files beside.
func restoreFolder(w *world, after int) {
	lost := "src/" + words[3] + "01"
	switch after {
	case -2:
		w.lost = map[string][]byte{}
		for _, n := range w.names(under(lost)) {
			w.lost[n] = w.files[n].body
			delete(w.files, n)
		}
		for _, n := range w.some(0.2, under("docs")) {
			w.lost[n] = w.files[n].body
		}
	case -1:
		for _, n := range w.names(func(n string) bool { return w.lost[n] != nil }) {
			w.edit(n)
		}
	case 0:
		for n, body := range w.lost {
			w.put(n, body)
		}
	}
}

// datedFolders: each night leaves a folder of dumps, and the one of ten days ago goes.
func datedFolders(w *world, _ int) {
	for i := range 130 {
		w.put(fmt.Sprintf("dumps/%s/t%03d.csv", w.now.Format(time.DateOnly), i), w.csv(700))
	}
	for _, n := range w.names(under("dumps/" + w.now.AddDate(0, 0, -10).Format(time.DateOnly))) {
		delete(w.files, n)
	}
}

// formatAll: line ends change in most of the texts there are.
func formatAll(w *world) {
	for _, n := range w.names(hasExt(".txt", ".json", ".html")) {
		w.put(n, bytes.ReplaceAll(w.files[n].body, []byte("\n"), []byte("\r\n")))
	}
}
