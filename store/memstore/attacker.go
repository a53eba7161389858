package memstore

import (
	"bytes"
	"fmt"

	"github.com/holdfast-backup/holdfast/store"
)

// Attacker does to a Store what a stolen writer key, a broken disk or a vendor's mistake can do. It is for tests: no
// other code may ask for one.
type Attacker struct{ s *Store }

// Attacker gives the attacker's hands on s.
func (s *Store) Attacker() Attacker { return Attacker{s: s} }

// Hide lays a delete marker on name, as a DELETE without a version does, and gives the marker's Ref.
func (a Attacker) Hide(name string) store.Ref {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.s.add(name, &version{marker: true, modified: a.s.now()})
}

// Overwrite lays a newer version with other bytes and no lock on name.
func (a Attacker) Overwrite(name string, data []byte) store.Ref {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.s.add(name, &version{body: bytes.Clone(data), modified: a.s.now()})
}

// Damage changes the bytes of exactly ref behind the vault's back: edit is given a copy and returns the new bytes.
func (a Attacker) Damage(ref store.Ref, edit func([]byte) []byte) error {
	return a.each(ref, func(i int, v *version) { v.body = edit(bytes.Clone(v.body)) })
}

// Lose makes exactly ref disappear, locked or not.
func (a Attacker) Lose(ref store.Ref) error {
	return a.each(ref, func(i int, _ *version) { a.s.drop(ref.Name, i) })
}

// Unlock takes the lock off exactly ref, as a vendor that ignores locks would.
func (a Attacker) Unlock(ref store.Ref) error {
	return a.each(ref, func(_ int, v *version) { v.lock = store.Retention{} })
}

func (a Attacker) each(ref store.Ref, f func(int, *version)) error {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for i, v := range a.s.objects[ref.Name] {
		if v.id == ref.Version {
			f(i, v)
			return nil
		}
	}
	return fmt.Errorf("no version %q of %q", ref.Version, ref.Name)
}
