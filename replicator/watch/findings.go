package watch

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// most is how many things of one kind and source are told one by one; of more, one finding tells.
const most = 5

// id names a finding by what it is about.
func (f Finding) id(subject string) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s|%s|%t|%s", f.Kind, f.Source, f.Event, subject)))[:16]
}

// alike is what stays the same in a text when it is about the same thing again.
func alike(text string) string { return "said " + notify.Sameness(text) }

// found is what a look finds, by ID.
type found map[string]Finding

// state tells of what is so now. subject tells it from others of the kind and the source.
func (l found) state(f Finding, subject string) {
	f.ID = f.id(subject)
	if _, twice := l[f.ID]; !twice {
		l[f.ID] = f
	}
}

// still keeps what was so at the last look, and was not looked at now.
func (l found) still(m *Memory, f Finding, subject string) {
	if was, open := m.Open[f.id(subject)]; open {
		l[was.ID] = was
	}
}

// event tells of what happened.
func (l found) event(f Finding, subject string) {
	f.Event = true
	l.state(f, subject)
}

// several tells of things of one kind and source: each by itself, or of many in one finding. All begins that one.
func (l found) several(f Finding, all string, things []thing) {
	if len(things) <= most {
		for _, t := range things {
			one := f
			one.Text = t.text
			l.state(one, t.subject)
		}
		return
	}
	var texts []string
	for _, t := range things[:most] {
		texts = append(texts, t.text)
	}
	f.Text = fmt.Sprintf(all, len(things)) + ": " + strings.Join(texts, "; ") + "; .."
	f.Count, f.Many = len(things), true
	subject := "many"
	if f.Event { // others happen later
		subject += things[0].subject
	}
	l.state(f, subject)
}

// thing is one of several of a kind.
type thing struct{ subject, text string }

// bySource takes things together by what they are of.
type bySource map[string][]thing

func (b bySource) add(source, subject, text string) {
	b[source] = append(b[source], thing{subject, text})
}

// byName takes together what names say that they are of. Whoever may store something invents sources as he likes, so that things of more than a
// few are told as things of the vault.
func (b bySource) byName() bySource {
	if len(b) <= most {
		return b
	}
	all := bySource{}
	for source, things := range b {
		for _, t := range things {
			all.add("", source+"/"+t.subject, t.text)
		}
	}
	return all
}

func (b bySource) each(do func(source string, things []thing)) {
	for _, source := range slices.Sorted(maps.Keys(b)) {
		things := b[source]
		slices.SortFunc(things, func(x, y thing) int { return strings.Compare(x.subject, y.subject) })
		do(source, things)
	}
}

// settle gives what is so now and what happened lately, and remembers it. Where the vault was not looked at as a whole, what was so before is
// taken to be so still.
func (l *look) settle(whole bool) (now, over []Finding) {
	states, events, most := map[string]Finding{}, l.lately(), map[string]int{}
	for id, f := range l.found {
		f.Since, f.New = l.now, true
		before, known := l.m.Open[id]
		if f.Event {
			if !slices.ContainsFunc(events, func(e Finding) bool { return e.ID == id }) {
				events = append(events, f)
			}
			continue
		}
		if known { // more of it is news
			f.Since, f.New = before.Since, f.Count > before.Count
		}
		states[id], most[id] = f, max(f.Count, before.Count)
	}
	for id, f := range l.m.Open {
		if _, still := states[id]; still {
			continue
		}
		switch f.New = false; {
		case !whole && f.Kind != Unreadable, l.Asked && f.Kind == Late && f.Source != "" && !slices.Contains(l.Sources, f.Source):
			states[id], most[id] = f, f.Count
		case !l.changed(f):
			over = append(over, f)
		}
	}
	events = bounded(events, eventsOfKind)
	now = bounded(slices.Collect(maps.Values(states)), statesOfKind)
	l.m.Open, l.m.Events = map[string]Finding{}, events
	for _, f := range now {
		f.Count = most[f.ID]
		l.m.Open[f.ID] = f
	}
	now = append(now, events...)
	inOrder(now)
	inOrder(over)
	return now, over
}

// changed reports whether what was so is told otherwise now: one by one, or all in one. Then it is not over.
func (l found) changed(was Finding) bool {
	for _, f := range l {
		if !f.Event && f.Kind == was.Kind && f.Source == was.Source && (f.Many || was.Many) {
			return true
		}
	}
	return false
}

// bounded keeps findings in order, the newest of each kind, so that much of one kind, which somebody may plant, pushes out no other.
func bounded(all []Finding, ofKind int) []Finding {
	slices.SortFunc(all, func(a, b Finding) int { return cmp.Or(b.Since.Compare(a.Since), strings.Compare(a.ID, b.ID)) })
	left := map[Kind]int{}
	all = slices.DeleteFunc(all, func(f Finding) bool {
		left[f.Kind]++
		return left[f.Kind] > ofKind
	})
	inOrder(all)
	return all
}

// lately gives the events of earlier looks that are still told.
func (l *look) lately() (out []Finding) {
	for _, f := range l.m.Events {
		if f.Since.After(l.now) { // the clock was set back
			f.Since = l.now
		}
		if f.New = false; l.now.Sub(f.Since) < Lasts {
			out = append(out, f)
		}
	}
	return out
}

// maxNotes bounds what is kept of what readers notice, of losses and of the rest: somebody may plant any number.
const maxNotes = 1000

// notes is what was noticed while a vault was read, each once.
type notes struct {
	mu      sync.Mutex
	seen    map[repo.Finding]bool
	lost    []repo.Finding
	foreign []repo.Finding
	more    bool // there were more foreign ones
}

func (n *notes) add(f repo.Finding) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[f] {
		return
	}
	list := &n.foreign
	if f.Kind == repo.Missing || f.Kind == repo.Damaged {
		list = &n.lost
	}
	if len(*list) == maxNotes {
		n.more = n.more || list == &n.foreign
		return
	}
	if n.seen == nil {
		n.seen = map[repo.Finding]bool{}
	}
	n.seen[f] = true
	*list = append(*list, f)
}

// lost tells of what readers missed, for as long as that is so.
func (l *look) lost() {
	lost := bySource{}
	for _, f := range l.noticed.lost {
		if !l.tells(f.Name) {
			lost.add(sourceOf(f.Name), f.Name, f.String())
		}
	}
	lost.byName().each(func(source string, things []thing) {
		l.several(Finding{Kind: Withheld, Source: source}, "%d things are missing or damaged", things)
	})
}

// foreign tells of what readers noticed that no key of the repository signed, once.
// some: not all that is there was listed, so that those of earlier looks are there still.
func (l *look) foreign(some bool) {
	l.heard = true
	fresh, now := bySource{}, slices.Clone(l.odd)
	if some {
		now = append(now, l.m.Strangers...)
	}
	for _, f := range l.noticed.foreign {
		id := Finding{Kind: Foreign}.id(f.String())
		now = append(now, id)
		if slices.Contains(l.m.Strangers, id) || l.first && l.Expected {
			l.known++
			continue
		}
		fresh.add(sourceOf(f.Name), id, fmt.Sprintf("%s: %s", f.Name, f.Detail))
	}
	if l.noticed.more {
		l.state(Finding{Kind: Foreign, Text: fmt.Sprintf("there are more than %d things that no key of this repository signed, or that lie over what one did, so that new ones cannot be told from old ones: "+
			"the writer's key was stolen, or somebody else stores in this place; `holdfast verify` names them", maxNotes)}, "more")
	} else {
		fresh.byName().each(func(source string, things []thing) {
			l.several(Finding{Kind: Foreign, Source: source, Event: true}, "%d new things that no key of this repository signed, or that lie over what one did", things)
		})
	}
	slices.Sort(now)
	l.m.Strangers = slices.Compact(now)[:min(len(now), maxStrangers)]
}

// tells reports whether a finding of the memory tells of a point already.
func (l *look) tells(name string) bool {
	return slices.ContainsFunc(l.gone, func(p Point) bool { return strings.Contains(name, p.ID) })
}

// sourceOf is the source that the name of a point speaks of; empty for anything else.
func sourceOf(name string) string {
	rest, ok := strings.CutPrefix(name, format.PrefixPoints)
	source, _, _ := strings.Cut(rest, "/")
	if !ok || !format.ValidName(source) {
		return ""
	}
	return source
}
