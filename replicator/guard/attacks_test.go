package guard_test

import (
	"fmt"
	"path"
)

// attacks are histories in which somebody does harm. Each that touches 5 % of a source or more is to be seen in the run in
// which it does, and the slow ones within a week.
func attacks() []history {
	return []history{
		{name: "most encrypted at once", step: once(func(w *world) { w.encryptSome(0.6, 0) })},
		{name: "6 % encrypted", step: once(func(w *world) { w.encryptSome(0.06, 0) })},
		{name: "a third encrypted in part", step: once(func(w *world) { w.encryptSome(0.3, 512) })},
		{name: "6 % encrypted in part", step: once(func(w *world) { w.encryptSome(0.06, 4096) })},
		{name: "1 % a day encrypted", slow: true, step: daily(func(w *world) { w.encryptSome(0.01, 0) })},
		{name: "1 % a day encrypted in part", slow: true, step: daily(func(w *world) { w.encryptSome(0.01, 1024) })},
		{name: "renamed with a suffix", step: once(func(w *world) { w.rename(0.2) })},
		{name: "most of all deleted", step: once(func(w *world) { w.drop(0.7, nil) })},
		{name: "7 % deleted, here and there", step: once(func(w *world) { w.drop(0.07, nil) })},
		{name: "emptied listing", step: func(w *world, after int) {
			if after >= 0 {
				clear(w.files)
			}
		}},
		{name: "keys of somebody else's", step: once(func(w *world) {
			for _, n := range w.some(0.06, nil) {
				w.files[n].locked, w.files[n].modified = true, w.now
				w.touched[n] = true
			}
		})},
		{name: "delete markers", versions: true, step: once(func(w *world) {
			for _, n := range w.some(0.3, nil) {
				w.files[n].marker = true
				w.touched[n] = true
			}
		})},
	}
}

// more are attacks beside the twelve.
func more() []history {
	return []history{
		{name: "one folder deleted", step: once(func(w *world) { w.drop(1, under("data")) })},
		{name: "other names and another extension", step: once(func(w *world) {
			for _, n := range w.some(0.1, nil) {
				body := w.encrypt(w.files[n].body, 0)
				w.erase(n)
				w.spoil(fmt.Sprintf("%s/%x.kx7", path.Dir(n), w.noise(8)), body)
			}
		})},
		{name: "one file of the wire", rule: "tripwire", step: once(func(w *world) { w.wire = true })},
	}
}

// untold are attacks that cannot be told from what owners do. They are measured, and no bar holds for them.
func untold() []history {
	return []history{
		{name: "photos encrypted behind their heads, lengths kept", step: once(func(w *world) { w.behindHeads(0) })},
		{name: "photos encrypted behind their heads, lengths changed", step: once(func(w *world) { w.behindHeads(300) })},
		{name: "sealed files encrypted behind their heads", step: once(func(w *world) {
			for _, n := range w.names(hasExt(".age")) {
				w.spoil(n, w.sealed(len(w.files[n].body)-89))
			}
		})},
		{name: "3 % deleted", step: once(func(w *world) { w.drop(0.03, nil) })},
	}
}

// daily does something from the day on.
func daily(do func(w *world)) func(*world, int) {
	return func(w *world, after int) {
		if after >= 0 {
			do(w)
		}
	}
}

// encryptSome encrypts a share of the files in their places.
func (w *world) encryptSome(share float64, stretch int) {
	for _, n := range w.some(share, func(n string) bool { return !w.done[n] }) {
		w.done[n] = true
		w.spoil(n, w.encrypt(w.files[n].body, stretch))
	}
}

// rename encrypts a share of the files and gives each another name.
func (w *world) rename(share float64) {
	for _, n := range w.some(share, nil) {
		body := w.encrypt(w.files[n].body, 2048)
		w.erase(n)
		w.spoil(n+".locked", append(body, w.noise(256)...))
	}
}

// behindHeads encrypts photos but for what their formats are recognised by.
func (w *world) behindHeads(more int) {
	for _, n := range w.names(hasExt(".jpg")) {
		body := w.files[n].body
		head := min(640, len(body))
		out := append(body[:head:head], w.encrypt(body[head:], 0)...)
		if more > 0 {
			out = append(out, w.noise(w.rnd.IntN(more))...)
		}
		w.spoil(n, out)
	}
}

func (w *world) erase(n string) {
	w.touched[n] = true
	delete(w.files, n)
}

func (w *world) drop(share float64, keep func(string) bool) {
	for _, n := range w.some(share, keep) {
		w.erase(n)
	}
}
