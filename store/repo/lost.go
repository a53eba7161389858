package repo

import (
	"fmt"
	"sync"
)

// LostError names stored objects that a point needs and that no vault in use can give: gone, or damaged. What they held
// must come from the source again. The cache does not take them for stored any more.
type LostError struct {
	Names []string // at most a hundred of them
	Count int
	Err   error // of the first
}

func (e *LostError) Error() string {
	more := ""
	if e.Count > 1 {
		more = fmt.Sprintf(" (and %d more)", e.Count-1)
	}
	return fmt.Sprintf("an object that the point needs cannot be had from any vault%s: %v", more, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

// losses collects what vaults lack.
type losses struct {
	mu sync.Mutex
	of map[*keeper]*LostError
}

const maxLostNames = 100

func (l *losses) add(k *keeper, name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[*keeper]*LostError{}
	}
	e := l.of[k]
	if e == nil {
		e = &LostError{Err: fmt.Errorf("vault %s: %w", k.vault.Name, err)}
		l.of[k] = e
	}
	e.Count++
	if len(e.Names) < maxLostNames {
		e.Names = append(e.Names, name)
	}
}

// err is what the vaults still in use lack; what one lacked that failed meanwhile does not matter.
func (l *losses) err(s *vaults) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out *LostError
	for k, e := range l.of {
		if !s.inStep(k) {
			continue
		}
		if out == nil || e.Count > out.Count {
			out = e
		}
	}
	if out == nil {
		return nil
	}
	return out
}
