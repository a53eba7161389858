package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Bench measures a driver: puts and gets of 4 KiB and 16 MiB, four for each processor at a time. cpu-µs/op is what this
// process alone spent, without a server beside it.
func Bench(b *testing.B, o Options) {
	for _, size := range []int{4 << 10, 16 << 20} {
		body := data(size, 1)
		opts := options(body)
		b.Run(fmt.Sprintf("Put/%d", size), func(b *testing.B) {
			h := o.New(b)
			var n atomic.Int64
			b.SetBytes(int64(size))
			b.SetParallelism(4)
			b.ReportAllocs()
			b.ResetTimer()
			begin := cpu(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					name := numbered(int(n.Add(1)))
					if _, err := h.Vault.Put(b.Context(), name, bytes.NewReader(body), int64(size), opts); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64((cpu(b)-begin).Microseconds())/float64(b.N), "cpu-µs/op")
		})
		b.Run(fmt.Sprintf("Get/%d", size), func(b *testing.B) {
			h := o.New(b)
			ref, err := h.Vault.Put(b.Context(), "one", bytes.NewReader(body), int64(size), opts)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.SetParallelism(4)
			b.ReportAllocs()
			b.ResetTimer()
			begin := cpu(b)
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 256<<10)
				for pb.Next() {
					rc, err := h.Vault.Open(b.Context(), ref, 0, -1)
					if err != nil {
						b.Error(err)
						return
					}
					for err == nil {
						_, err = rc.Read(buf)
					}
					if !errors.Is(err, io.EOF) {
						b.Error(err)
					}
					_ = rc.Close()
				}
			})
			b.ReportMetric(float64((cpu(b)-begin).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpu is the processor time this process has used so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
