package programs

import (
	"errors"
	"testing"
)

// TestFind: a program that is not there is said to be missing, and one that nobody named is a mistake.
func TestFind(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Find("zstd"); !errors.Is(err, ErrMissing) {
		t.Errorf("zstd: %v", err)
	}
	if _, err := Find("vi"); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("vi: %v", err)
	}
	t.Setenv("CI", "true")
	if !Demanded() {
		t.Error("nothing is demanded in CI")
	}
	t.Setenv("CI", "")
	skipped := true
	t.Run("need", func(t *testing.T) {
		defer func() { skipped = t.Skipped() && !t.Failed() }()
		inner := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			Need(inner, "zstd")
		}()
		if !inner.skipped || inner.failed {
			t.Errorf("without CI: %+v", inner)
		}
		t.Setenv("CI", "true")
		inner = &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			Need(inner, "zstd")
		}()
		if inner.skipped || !inner.failed {
			t.Errorf("in CI: %+v", inner)
		}
	})
	if skipped {
		t.Error("this test was skipped itself")
	}
}

// recorder notes how a test would have ended.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()      {}
func (r *recorder) Skip(...any)  { r.skipped = true; panic("skipped") }
func (r *recorder) Fatal(...any) { r.failed = true; panic("failed") }
