package todir_test

import (
	"os"
	"runtime/pprof"
	"syscall"
	"testing"
)

func prof(t *testing.T, f func()) {
	w, _ := os.Create("/tmp/restore.prof")
	var a, b syscall.Rusage
	syscall.Getrusage(0, &a)
	pprof.StartCPUProfile(w)
	f()
	pprof.StopCPUProfile()
	syscall.Getrusage(0, &b)
	w.Close()
	t.Logf("user %.2f sys %.2f", float64(b.Utime.Nano()-a.Utime.Nano())/1e9, float64(b.Stime.Nano()-a.Stime.Nano())/1e9)
}
