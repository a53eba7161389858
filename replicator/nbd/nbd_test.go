package nbd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/nbd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is an export with holes in it: every odd block of 64 KiB.
type disk struct {
	content []byte
	reads   atomic.Int64
	fail    atomic.Bool
	block   chan struct{} // if not nil, reads wait for it
}

const diskBlock = 64 << 10

func newDisk(size int) *disk {
	d := &disk{content: make([]byte, size)}
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(d.content)
	for at := diskBlock; at < size; at += 2 * diskBlock {
		clear(d.content[at:min(at+diskBlock, size)])
	}
	return d
}

func (d *disk) Size() int64 { return int64(len(d.content)) }

func (d *disk) ReadAt(ctx context.Context, p []byte, off int64) error {
	if d.block != nil {
		select {
		case <-d.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if d.fail.Load() {
		return errors.New("the vault is on fire")
	}
	d.reads.Add(int64(len(p)))
	copy(p, d.content[off:])
	return nil
}

func (d *disk) Status(_ context.Context, off, n int64, most int) ([]nbd.Span, error) {
	var out []nbd.Span
	for end := off + n; off < end && len(out) < most; {
		to := min((off/diskBlock+1)*diskBlock, end)
		out = append(out, nbd.Span{Len: to - off, Hole: off/diskBlock%2 == 1})
		off = to
	}
	return out, nil
}

// serve runs a server for the test.
func serve(t *testing.T, o nbd.Options) (*nbd.Server, string) {
	t.Helper()
	s, err := nbd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s, path
}

func TestHandshake(t *testing.T) {
	d := newDisk(1 << 20)
	_, path := serve(t, nbd.Options{Name: "disk.raw", Export: d})

	t.Run("list, info and export name", func(t *testing.T) {
		c := dial(t, path)
		c.greet(1)
		c.option(3, "")
		if got := string(c.expect(3, 2)); got != str("disk.raw") {
			t.Errorf("listed as %q", got)
		}
		c.expect(3, 1)
		c.option(6, str("disk.raw")+"\x00\x02\x00\x01\x00\x03")
		seen := map[uint16][]byte{}
		for {
			k, data := c.reply(6)
			if k == 1 {
				break
			}
			seen[binary.BigEndian.Uint16(data)] = data[2:]
		}
		if got := binary.BigEndian.Uint64(seen[0]); got != 1<<20 {
			t.Errorf("size %d", got)
		}
		if f := binary.BigEndian.Uint16(seen[0][8:]); f&3 != 3 || f&(1<<8) == 0 || f&(1<<7) != 0 {
			t.Errorf("flags %b", f)
		}
		if string(seen[1]) != "disk.raw" || binary.BigEndian.Uint32(seen[3][8:]) != 32<<20 {
			t.Errorf("info %v", seen)
		}
		c.option(1, "disk.raw")
		if n := c.u64(); n != 1<<20 {
			t.Errorf("size %d", n)
		}
		c.u16()
		if pad := c.get(124); !bytes.Equal(pad, make([]byte, 124)) {
			t.Error("padding is not zeros")
		}
		c.ask(0, 0, 9, 5, 100)
		if _, b := c.simple(9, 100); !bytes.Equal(b, d.content[5:105]) {
			t.Error("wrong bytes")
		}
		c.ask(0, 2, 0, 0, 0)
		c.gone()
	})

	refusals := []struct {
		name string
		opt  uint32
		data string
		kind uint32
	}{
		{"unknown option", 99, "xyz", 1<<31 + 1},
		{"starttls", 5, "", 1<<31 + 1},
		{"extended headers", 11, "", 1<<31 + 1},
		{"list with data", 3, "x", 1<<31 + 3},
		{"structured with data", 8, "x", 1<<31 + 3},
		{"another export", 7, str("other") + noInfo, 1<<31 + 6},
		{"short info", 7, str(""), 1<<31 + 3},
		{"name beyond the data", 7, "\x00\x00\xff\xff", 1<<31 + 3},
		{"name far beyond the data", 7, "\xff\xff\xff\xff" + noInfo, 1<<31 + 3},
		{"info with trailing bytes", 6, str("") + noInfo + "x", 1<<31 + 3},
		{"context before structured", 10, str("") + "\x00\x00\x00\x00", 1<<31 + 3},
		{"too many queries", 9, str("") + "\xff\xff\xff\xff", 1<<31 + 9},
		{"too much data", 42, string(make([]byte, 100<<10)), 1<<31 + 9},
	}
	t.Run("refusals", func(t *testing.T) {
		c := dial(t, path)
		c.greet(3)
		for _, r := range refusals {
			c.option(r.opt, r.data)
			if k, data := c.reply(r.opt); k != r.kind {
				t.Errorf("%s: %#x %q, not %#x", r.name, k, data, r.kind)
			}
		}
		c.option(2, "")
		c.expect(2, 1)
		c.gone()
	})

	hangups := []struct {
		name string
		send func(*client)
	}{
		{"old client", func(c *client) { c.greet(0) }},
		{"unknown client flags", func(c *client) { c.greet(1<<5 | 3) }},
		{"garbage for an option", func(c *client) { c.greet(3); c.put("GET / HTTP/1.1\r\n") }},
		{"huge option", func(c *client) { c.greet(3); c.put("IHAVEOPT", uint32(7), uint32(1<<31)) }},
		{"unknown name the old way", func(c *client) { c.greet(3); c.option(1, "other") }},
		{"huge write", func(c *client) { c.enter(false, false); c.ask(0, 1, 1, 0, 1<<30) }},
		{"garbage for a request", func(c *client) { c.enter(false, false); c.put(string(make([]byte, 28))) }},
		{"options without end", func(c *client) {
			c.greet(3)
			for range 128 {
				c.option(99, "")
				c.expect(99, 1<<31+1)
			}
		}},
	}
	for _, h := range hangups {
		t.Run(h.name, func(t *testing.T) {
			c := dial(t, path)
			h.send(c)
			c.gone()
		})
	}
}

func TestContexts(t *testing.T) {
	_, path := serve(t, nbd.Options{Name: "d", Export: newDisk(1 << 20)})
	c := dial(t, path)
	c.greet(3)
	c.option(8, "")
	c.expect(8, 1)
	for _, q := range []struct {
		opt   uint32
		data  string
		found bool
	}{
		{9, str("") + "\x00\x00\x00\x00", true},
		{9, str("d") + "\x00\x00\x00\x01" + str("base:"), true},
		{9, str("d") + "\x00\x00\x00\x01" + str("qemu:dirty-bitmap:"), false},
		{10, str("d") + "\x00\x00\x00\x00", false},
		{10, str("d") + "\x00\x00\x00\x01" + str("base:"), false},
		{10, str("d") + "\x00\x00\x00\x02" + str("x-y:z") + str("base:allocation"), true},
	} {
		c.option(q.opt, q.data)
		if q.found {
			if got := c.expect(q.opt, 4); string(got[4:]) != "base:allocation" {
				t.Errorf("context %q", got)
			}
		}
		c.expect(q.opt, 1)
	}
	t.Run("a failed one takes the last one back", func(t *testing.T) {
		c := dial(t, path)
		c.greet(3)
		c.option(8, "")
		c.expect(8, 1)
		c.option(10, str("")+"\x00\x00\x00\x01"+str("base:allocation"))
		c.expect(10, 4)
		c.expect(10, 1)
		c.option(10, str("")+"\x00\x00\x00\x01"+str("nonsense"))
		c.expect(10, 1<<31+3)
		c.option(7, str("")+noInfo)
		for k := uint32(0); k != 1; {
			k, _ = c.reply(7)
		}
		c.ask(0, 7, 1, 0, 4096)
		if p := c.part(1); p.kind != 1<<15+1 {
			t.Errorf("%+v", p)
		}
	})
	// It was set for "d", and another name was taken in the end.
	c.option(7, str("")+noInfo)
	for {
		if k, _ := c.reply(7); k == 1 {
			break
		}
	}
	c.ask(0, 7, 1, 0, 4096)
	if p := c.part(1); p.kind != 1<<15+1 || binary.BigEndian.Uint32(p.data) != 22 {
		t.Errorf("%+v", p)
	}
}

func TestReads(t *testing.T) {
	d := newDisk(1<<20 + 777)
	s, path := serve(t, nbd.Options{Export: d})

	t.Run("simple", func(t *testing.T) {
		c := dial(t, path)
		c.enter(false, false)
		for i, r := range []struct {
			off uint64
			n   uint32
		}{{0, 1}, {0, 1<<20 + 777}, {1 << 20, 777}, {diskBlock - 1, diskBlock + 2}} {
			c.ask(0, 0, uint64(i), r.off, r.n)
			if e, b := c.simple(uint64(i), int(r.n)); e != 0 || !bytes.Equal(b, d.content[r.off:][:r.n]) {
				t.Errorf("%+v: error %d or wrong bytes", r, e)
			}
		}
	})

	t.Run("structured", func(t *testing.T) {
		c := dial(t, path)
		c.enter(true, true)
		before := d.reads.Load()
		c.ask(0, 0, 77, 100, 3*diskBlock)
		got := bytes.Repeat([]byte{0xee}, 3*diskBlock)
		holes, data := 0, 0
		for {
			p := c.part(77)
			off := binary.BigEndian.Uint64(p.data) - 100
			switch p.kind {
			case 1:
				data += copy(got[off:], p.data[8:])
			case 2:
				n := binary.BigEndian.Uint32(p.data[8:])
				holes += int(n)
				clear(got[off:][:n])
			default:
				t.Fatalf("%+v", p)
			}
			if p.done {
				break
			}
		}
		if !bytes.Equal(got, d.content[100:][:3*diskBlock]) {
			t.Error("wrong bytes")
		}
		if holes == 0 || holes+data != len(got) || d.reads.Load()-before != int64(data) {
			t.Errorf("%d bytes of holes, %d of data, %d read", holes, data, d.reads.Load()-before)
		}
		c.ask(1<<2, 0, 78, 0, 3*diskBlock)
		if p := c.part(78); !p.done || p.kind != 1 || !bytes.Equal(p.data[8:], d.content[:3*diskBlock]) {
			t.Error("DF: not one chunk with all of it")
		}
	})

	t.Run("status", func(t *testing.T) {
		c := dial(t, path)
		c.enter(true, true)
		c.ask(0, 7, 5, 10, 2*diskBlock)
		p := c.part(5)
		want := []uint32{1, diskBlock - 10, 0, diskBlock, 3, 10, 0}
		if p.kind != 5 || !p.done || len(p.data) != 4*len(want) {
			t.Fatalf("%+v", p)
		}
		for i, w := range want {
			if g := binary.BigEndian.Uint32(p.data[4*i:]); g != w {
				t.Errorf("word %d is %d, not %d", i, g, w)
			}
		}
		c.ask(1<<3, 7, 6, 10, 2*diskBlock)
		if p := c.part(6); len(p.data) != 12 {
			t.Errorf("one was asked for: %+v", p)
		}
	})

	t.Run("refused", func(t *testing.T) {
		for _, structured := range []bool{false, true} {
			c := dial(t, path)
			c.enter(structured, false)
			for i, r := range []struct {
				flags, kind uint16
				off         uint64
				n           uint32
				errno       uint32
				data        string
			}{
				{0, 0, 1<<20 + 777, 1, 22, ""}, {0, 0, 0, 0, 22, ""}, {0, 0, 1 << 63, 4096, 22, ""}, {0, 0, ^uint64(0), 2, 22, ""},
				{0, 0, 0, 1<<25 + 1, 22, ""}, {1 << 9, 0, 0, 1, 22, ""},
				{0, 1, 0, 5, 1, "hello"}, {0, 4, 0, 4096, 1, ""}, {0, 6, 0, 4096, 1, ""},
				{0, 3, 0, 0, 95, ""}, {0, 5, 0, 4096, 95, ""}, {0, 7, 0, 4096, 22, ""}, {0, 8, 0, 4096, 22, ""}, {0, 999, 0, 4096, 22, ""},
			} {
				c.ask(r.flags, r.kind, uint64(i), r.off, r.n)
				c.put(r.data)
				var e uint32
				if structured {
					p := c.part(uint64(i))
					if p.kind != 1<<15+1 || !p.done {
						t.Fatalf("%+v: %+v", r, p)
					}
					e = binary.BigEndian.Uint32(p.data)
				} else {
					e, _ = c.simple(uint64(i), 0)
				}
				if e != r.errno {
					t.Errorf("%+v: error %d", r, e)
				}
			}
			c.ask(0, 2, 0, 0, 0)
			c.gone()
		}
	})

	t.Run("failing", func(t *testing.T) {
		d.fail.Store(true)
		defer d.fail.Store(false)
		c := dial(t, path)
		c.enter(true, false)
		c.ask(0, 0, 3, 0, 10)
		if p := c.part(3); p.kind != 1<<15+1 || binary.BigEndian.Uint32(p.data) != 5 || bytes.Contains(p.data, []byte("fire")) {
			t.Errorf("%+v", p)
		}
		if s.Counts().Errors != 1 {
			t.Errorf("%+v", s.Counts())
		}
	})
}

// Many requests at once, from many clients, each answered with its own bytes.
func TestMany(t *testing.T) {
	d := newDisk(4 << 20)
	s, path := serve(t, nbd.Options{Export: d, Memory: 256 << 10})
	var wg sync.WaitGroup
	for w := range 8 {
		c := dial(t, path)
		c.enter(false, false)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			type want struct{ off, n int }
			sent := map[uint64]want{}
			for i := range 50 {
				q := want{n: 1 + r.IntN(128<<10)}
				q.off = r.IntN(len(d.content) - q.n)
				sent[uint64(i)] = q
				c.ask(0, 0, uint64(i), uint64(q.off), uint32(q.n))
			}
			for range 50 {
				c.get(8)
				q, ok := sent[c.u64()]
				if !ok || !bytes.Equal(c.get(q.n), d.content[q.off:][:q.n]) {
					t.Errorf("wrong bytes at %+v", q)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := s.Counts(); n.Reads != 400 || n.Clients != 8 || n.Errors != 0 {
		t.Errorf("%+v", n)
	}
}

// A server that is stopped leaves nothing behind, whatever its clients do: wait, haggle, or do not take what they asked for.
func TestStop(t *testing.T) {
	d := newDisk(32 << 20)
	s, err := nbd.New(nbd.Options{Export: d, Connections: 4})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	mute := dial(t, path)
	mute.get(1)
	idle := dial(t, path)
	idle.enter(true, false)
	deaf := dial(t, path)
	deaf.enter(false, false)
	for i := range 100 {
		deaf.ask(0, 0, uint64(i), 0, 16<<20)
	}
	other := dial(t, path)
	other.greet(3)
	fifth := dial(t, path)
	fifth.gone()
	start := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("stopping took %v", d)
	}
	idle.gone()
	mute.get(17)
	mute.gone()
}
