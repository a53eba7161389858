package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// handshake is the haggling with one client: "Fixed newstyle negotiation".
type handshake struct {
	rw   io.ReadWriter
	name string
	size int64

	noZeroes   bool
	structured bool
	context    *string // the export that base:allocation was set for
}

// terms is what was agreed on.
type terms struct {
	structured bool
	status     bool // block status may be asked for
}

// run haggles until the client takes the export; no terms and no error: it went away in good order.
func (h *handshake) run() (*terms, error) {
	var hello []byte
	hello = binary.BigEndian.AppendUint64(hello, magicServer)
	hello = binary.BigEndian.AppendUint64(hello, magicOption)
	hello = binary.BigEndian.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := h.rw.Write(hello); err != nil {
		return nil, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(h.rw, flags[:]); err != nil {
		return nil, quiet(err)
	}
	f := binary.BigEndian.Uint32(flags[:])
	if f&^(flagFixedNewstyle|flagNoZeroes) != 0 || f&flagFixedNewstyle == 0 {
		return nil, fmt.Errorf("client flags %#x: this server speaks the fixed newstyle negotiation only", f)
	}
	h.noZeroes = f&flagNoZeroes != 0
	for range maxOptions {
		t, done, err := h.option()
		if err != nil || done {
			return t, err
		}
	}
	return nil, fmt.Errorf("more than %d options", maxOptions)
}

// quiet takes a client that hangs up between messages for one that goes.
func quiet(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// option answers one option; done says that haggling is over.
func (h *handshake) option() (t *terms, done bool, err error) {
	var head [16]byte
	if _, err := io.ReadFull(h.rw, head[:]); err != nil {
		return nil, true, quiet(err)
	}
	if binary.BigEndian.Uint64(head[:]) != magicOption {
		return nil, true, errors.New("not an option")
	}
	opt, n := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if n > maxOption {
		// An export name cannot be answered with an error.
		if n > maxSkipped || opt == optExportName {
			return nil, true, fmt.Errorf("option %d with %d bytes of data", opt, n)
		}
		if _, err := io.CopyN(io.Discard, h.rw, int64(n)); err != nil {
			return nil, true, err
		}
		return nil, false, h.refuse(opt, repErrTooBig, "too much data")
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(h.rw, data); err != nil {
		return nil, true, err
	}
	switch opt {
	case optExportName:
		return h.exportName(string(data))
	case optAbort:
		_ = h.reply(opt, repAck, nil) // the client need not wait for it
		return nil, true, nil
	case optInfo, optGo:
		return h.info(opt, data)
	case optList:
		return nil, false, h.list(data)
	case optStructured:
		return nil, false, h.structure(data)
	case optListContext, optSetContext:
		return nil, false, h.contexts(opt, data)
	}
	return nil, false, h.refuse(opt, repErrUnsupported, "")
}

// serves reports whether the export has this name.
func (h *handshake) serves(name string) bool { return name == "" || name == h.name }

// exportName is the old way in, which has no way to say no.
func (h *handshake) exportName(name string) (*terms, bool, error) {
	if !h.serves(name) {
		return nil, true, fmt.Errorf("no export %.80q", name)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(h.size))
	b = binary.BigEndian.AppendUint16(b, h.flags())
	if !h.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	if _, err := h.rw.Write(b); err != nil {
		return nil, true, err
	}
	return h.terms(name), true, nil
}

// flags are the transmission flags. Several connections see the same, as nothing is ever written.
func (h *handshake) flags() uint16 {
	f := uint16(flagHasFlags | flagReadOnly | flagMultiConn)
	if h.structured {
		f |= flagSendDF
	}
	return f
}

func (h *handshake) terms(name string) *terms {
	return &terms{structured: h.structured, status: h.structured && h.context != nil && *h.context == name}
}

// info answers what the client wants to know, and with go the haggling is over.
func (h *handshake) info(opt uint32, data []byte) (*terms, bool, error) {
	r, err := parseInfo(data)
	if err != nil {
		return nil, false, h.refuse(opt, repErrInvalid, err.Error())
	}
	if !h.serves(r.name) {
		return nil, false, h.refuse(opt, repErrUnknown, "no such export")
	}
	b := binary.BigEndian.AppendUint16(nil, infoExport)
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = binary.BigEndian.AppendUint16(b, h.flags())
	if err := h.reply(opt, repInfo, b); err != nil {
		return nil, true, err
	}
	if slices.Contains(r.want, infoName) && listable(h.name) {
		b := binary.BigEndian.AppendUint16(nil, infoName)
		if err := h.reply(opt, repInfo, append(b, h.name...)); err != nil {
			return nil, true, err
		}
	}
	// Sent whether asked for or not, as reads are limited.
	b = binary.BigEndian.AppendUint16(nil, infoBlockSize)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, preferred)
	b = binary.BigEndian.AppendUint32(b, maxRead)
	if err := h.reply(opt, repInfo, b); err != nil {
		return nil, true, err
	}
	if err := h.reply(opt, repAck, nil); err != nil || opt == optInfo {
		return nil, err != nil, err
	}
	return h.terms(r.name), true, nil
}

// preferred is the block size that reads need least for: the kernel's page.
const preferred = 4096

func (h *handshake) list(data []byte) error {
	if len(data) > 0 {
		return h.refuse(optList, repErrInvalid, "no data belongs to this option")
	}
	name := h.name
	if !listable(name) {
		name = ""
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	if err := h.reply(optList, repServer, append(b, name...)); err != nil {
		return err
	}
	return h.reply(optList, repAck, nil)
}

func (h *handshake) structure(data []byte) error {
	if len(data) > 0 {
		return h.refuse(optStructured, repErrInvalid, "no data belongs to this option")
	}
	h.structured = true
	return h.reply(optStructured, repAck, nil)
}

// contexts lists or sets metadata contexts, of which there is one: base:allocation.
func (h *handshake) contexts(opt uint32, data []byte) error {
	if opt == optSetContext {
		h.context = nil // also when this fails
	}
	r, err := parseContexts(data)
	switch {
	case errors.Is(err, errTooBig):
		return h.refuse(opt, repErrTooBig, err.Error())
	case err != nil:
		return h.refuse(opt, repErrInvalid, err.Error())
	case !h.structured:
		return h.refuse(opt, repErrInvalid, "structured replies come first")
	case !h.serves(r.name):
		return h.refuse(opt, repErrUnknown, "no such export")
	}
	found := opt == optListContext && len(r.queries) == 0
	for _, q := range r.queries {
		if !strings.Contains(q, ":") {
			return h.refuse(opt, repErrInvalid, "a query without a namespace")
		}
		found = found || q == contextName || opt == optListContext && q == "base:"
	}
	if found {
		id := uint32(0)
		if opt == optSetContext {
			id, h.context = contextID, &r.name
		}
		b := binary.BigEndian.AppendUint32(nil, id)
		if err := h.reply(opt, repContext, append(b, contextName...)); err != nil {
			return err
		}
	}
	return h.reply(opt, repAck, nil)
}

// refuse answers with an error, and a text for people.
func (h *handshake) refuse(opt, code uint32, why string) error {
	return h.reply(opt, code, []byte(why))
}

func (h *handshake) reply(opt, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicReply)
	b = binary.BigEndian.AppendUint32(b, opt)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := h.rw.Write(append(b, data...))
	return err
}
