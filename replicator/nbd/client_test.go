package nbd_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// client is the other side, byte by byte.
type client struct {
	*testing.T
	net.Conn
}

func dial(t *testing.T, path string) *client {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, c}
}

func (c *client) put(parts ...any) {
	c.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		if s, ok := p.(string); ok {
			b.WriteString(s)
			continue
		}
		if err := binary.Write(&b, binary.BigEndian, p); err != nil {
			c.Fatal(err)
		}
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		c.Fatal(err)
	}
}

func (c *client) get(n int) []byte {
	c.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.Conn, b); err != nil {
		c.Fatalf("reading %d bytes: %v", n, err)
	}
	return b
}

func (c *client) u16() uint16 { c.Helper(); return binary.BigEndian.Uint16(c.get(2)) }
func (c *client) u32() uint32 { c.Helper(); return binary.BigEndian.Uint32(c.get(4)) }
func (c *client) u64() uint64 { c.Helper(); return binary.BigEndian.Uint64(c.get(8)) }

// gone checks that the server hung up.
func (c *client) gone() {
	c.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatalf("the server goes on: %d bytes, %v", n, err)
	}
}

func (c *client) greet(flags uint32) {
	c.Helper()
	if got := string(c.get(16)); got != "NBDMAGICIHAVEOPT" {
		c.Fatalf("greeting %q", got)
	}
	if f := c.u16(); f != 3 {
		c.Fatalf("handshake flags %d", f)
	}
	c.put(flags)
}

func (c *client) option(opt uint32, data string) { c.put("IHAVEOPT", opt, uint32(len(data)), data) }

// reply reads one option reply.
func (c *client) reply(opt uint32) (kind uint32, data []byte) {
	c.Helper()
	if m := c.u64(); m != 0x3e889045565a9 {
		c.Fatalf("reply magic %x", m)
	}
	if o := c.u32(); o != opt {
		c.Fatalf("reply to option %d, not %d", o, opt)
	}
	kind = c.u32()
	return kind, c.get(int(c.u32()))
}

func (c *client) expect(opt, kind uint32) []byte {
	c.Helper()
	k, data := c.reply(opt)
	if k != kind {
		c.Fatalf("option %d: reply %#x %q, not %#x", opt, k, data, kind)
	}
	return data
}

func str(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }

const noInfo = "\x00\x00"

// enter goes into transmission.
func (c *client) enter(structured, context bool) {
	c.Helper()
	c.greet(3)
	if structured {
		c.option(8, "")
		c.expect(8, 1)
	}
	if context {
		c.option(10, str("")+"\x00\x00\x00\x01"+str("base:allocation"))
		c.expect(10, 4)
		c.expect(10, 1)
	}
	c.option(7, str("")+noInfo)
	for {
		k, data := c.reply(7)
		switch {
		case k == 1:
			return
		case k != 3:
			c.Fatalf("go: %#x %q", k, data)
		}
	}
}

func (c *client) ask(flags, kind uint16, cookie, off uint64, n uint32) {
	c.Helper()
	c.put(uint32(0x25609513), flags, kind, cookie, off, n)
}

// simple reads a simple reply, with n bytes of data if it is no error.
func (c *client) simple(cookie uint64, n int) (uint32, []byte) {
	c.Helper()
	if m := c.u32(); m != 0x67446698 {
		c.Fatalf("simple reply magic %x", m)
	}
	errno := c.u32()
	if k := c.u64(); k != cookie {
		c.Fatalf("cookie %d, not %d", k, cookie)
	}
	if errno != 0 {
		return errno, nil
	}
	return 0, c.get(n)
}

// part is one chunk of a structured reply.
type part struct {
	kind uint16
	done bool
	data []byte
}

func (c *client) part(cookie uint64) part {
	c.Helper()
	if m := c.u32(); m != 0x668e33ef {
		c.Fatalf("chunk magic %x", m)
	}
	p := part{done: c.u16()&1 != 0, kind: c.u16()}
	if k := c.u64(); k != cookie {
		c.Fatalf("cookie %d, not %d", k, cookie)
	}
	p.data = c.get(int(c.u32()))
	return p
}
