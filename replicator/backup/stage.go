package backup

import "sync"

// staged gives what brackets a stage that n goroutines do side by side, or one alone: it begins now, and ends with the last of them.
func staged(o Options, name string, n int) func(do func() error) error {
	if o.Stage == nil {
		return func(do func() error) error { return do() }
	}
	end := o.Stage(name)
	var mu sync.Mutex
	var failed error
	left := n
	return func(do func() error) error {
		err := do()
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		if left--; left == 0 {
			end(failed)
		}
		return err
	}
}
