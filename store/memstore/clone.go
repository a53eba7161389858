package memstore

import (
	"maps"
	"slices"
	"time"
)

// Clone gives a vault of its own with the same content, options and version IDs to come, on the clock now (nil: that of
// s). Bodies are shared, as nothing changes them in place: so it costs little.
func (s *Store) Clone(now func() time.Time) *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inOrder() // into a slice that nothing changes in place
	c := &Store{opts: s.opts, serial: s.serial, objects: maps.Clone(s.objects), names: s.names}
	if now != nil {
		c.opts.Now = now
	}
	for name, vs := range c.objects {
		vs = slices.Clone(vs)
		for i, v := range vs {
			own := *v
			vs[i] = &own
		}
		c.objects[name] = vs
	}
	return c
}
