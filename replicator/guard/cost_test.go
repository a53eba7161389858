package guard

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// BenchmarkEntry is what a small new entry of 14 kB costs in a first run, as many source files have it.
func BenchmarkEntry(b *testing.B) {
	w := New(Options{First: true, Now: time.Unix(1.7e9, 0)})
	body := make([]byte, 14<<10)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	e := &format.Entry{Size: int64(len(body)), Modified: format.At(time.Unix(1.6e9, 0))}
	for i := range b.N {
		e.Key = fmt.Sprintf("src/dir%03d/file%07d.go", i>>8, i)
		e.SHA256[0], e.SHA256[1], e.SHA256[2] = byte(i), byte(i>>8), byte(i>>16)
		w.Listed(e)
		w.Added(e, time.Time{})
		var p Bytes
		p.Pass(body)
		w.Read(nil, e, &p)
	}
}
