// Package otlp tells a collector of OpenTelemetry what a command did, as one trace: OTLP over HTTP, in protobuf, set by the standard
// OTEL_ variables.
//
// It writes the few messages of the protocol itself, so that no module comes with it; docs/design.md says why. A trace is kept in memory,
// bounded, and sent once at the end. What stands in it its callers choose: numbers and names of the configuration, never keys of a
// source, names of stored objects, or texts of errors.
package otlp

import (
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"
)

// Attributes are what is said of a span: strings, bools, int64 and float64. Anything else is left out.
type Attributes map[string]any

// MaxSpans bounds the spans of a trace. Those beyond are counted, and not sent.
const MaxSpans = 4096

// Tracer gathers the spans of one trace. A nil one does nothing. It is safe for concurrent use.
type Tracer struct {
	o  settings
	id [16]byte

	mu      sync.Mutex
	done    []record
	dropped int64
}

// record is a span that ended.
type record struct {
	id, parent   [8]byte
	name, failed string
	began, ended time.Time
	attributes   Attributes
}

// Span is one thing that is done. A nil one does nothing.
type Span struct {
	t          *Tracer
	id, parent [8]byte
	name       string
	began      time.Time
	attributes Attributes
}

// Root begins what the others are parts of.
func (t *Tracer) Root(name string, a Attributes) *Span {
	if t == nil {
		return nil
	}
	return t.span([8]byte{}, name, a)
}

func (t *Tracer) span(parent [8]byte, name string, a Attributes) *Span {
	s := &Span{t: t, parent: parent, name: name, began: t.o.now(), attributes: maps.Clone(a)}
	_, _ = rand.Read(s.id[:]) // never fails
	return s
}

// Child begins a part of a span.
func (s *Span) Child(name string, a Attributes) *Span {
	if s == nil {
		return nil
	}
	return s.t.span(s.id, name, a)
}

// End ends a span. failed is the name of what went wrong, empty if nothing did.
func (s *Span) End(failed string, a Attributes) {
	if s == nil {
		return
	}
	r := record{s.id, s.parent, s.name, failed, s.began, s.t.o.now(), s.attributes}
	if r.attributes == nil {
		r.attributes = Attributes{}
	}
	maps.Copy(r.attributes, a)
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	// The root comes last and always has room.
	if len(s.t.done) >= MaxSpans && r.parent != [8]byte{} {
		s.t.dropped++
		return
	}
	if r.parent == [8]byte{} && s.t.dropped > 0 {
		r.attributes["holdfast.spans_left_out"] = s.t.dropped
	}
	s.t.done = append(s.t.done, r)
}

// Numbers of fields, from opentelemetry-proto v1.
const (
	varint, fixed64, lengthy = 0, 1, 2

	kindInternal = 1
	statusError  = 2
)

// message is a protobuf message that is written.
type message []byte

func (m message) tag(field, wire int) message {
	return binary.AppendUvarint(m, uint64(field)<<3|uint64(wire))
}

func (m message) bytes(field int, b []byte) message {
	if len(b) == 0 {
		return m
	}
	m = binary.AppendUvarint(m.tag(field, lengthy), uint64(len(b)))
	return append(m, b...)
}

func (m message) text(field int, s string) message { return m.bytes(field, []byte(s)) }

// part is a message in a message, which may be empty.
func (m message) part(field int, of message) message {
	m = binary.AppendUvarint(m.tag(field, lengthy), uint64(len(of)))
	return append(m, of...)
}

func (m message) number(field int, v uint64) message {
	return binary.AppendUvarint(m.tag(field, varint), v)
}

func (m message) fixed(field int, v uint64) message {
	return binary.LittleEndian.AppendUint64(m.tag(field, fixed64), v)
}

func (m message) attributes(field int, a Attributes) message {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		var v message
		switch x := a[key].(type) {
		case string:
			v = message(nil).tag(1, lengthy)
			v = append(binary.AppendUvarint(v, uint64(len(x))), x...)
		case bool:
			n := uint64(0)
			if x {
				n = 1
			}
			v = v.number(2, n)
		case int64:
			v = v.number(3, uint64(x))
		case float64:
			v = v.fixed(4, floatBits(x))
		default:
			continue
		}
		m = m.part(field, message(nil).text(1, key).part(2, v))
	}
	return m
}

// request is an ExportTraceServiceRequest.
func (t *Tracer) request(spans []record) []byte {
	scope := message(nil).part(1, message(nil).text(1, "holdfast").text(2, t.o.version))
	for _, r := range spans {
		s := message(nil).bytes(1, t.id[:]).bytes(2, r.id[:])
		if r.parent != [8]byte{} {
			s = s.bytes(4, r.parent[:])
		}
		s = s.text(5, r.name).number(6, kindInternal).fixed(7, nanos(r.began)).fixed(8, nanos(r.ended))
		if r.failed != "" {
			r.attributes["error.type"] = r.failed
		}
		s = s.attributes(9, r.attributes)
		if r.failed != "" {
			s = s.part(15, message(nil).number(3, statusError))
		}
		scope = scope.part(2, s)
	}
	resource := message(nil).attributes(1, t.o.resource)
	return message(nil).part(1, message(nil).part(1, resource).part(2, scope))
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
