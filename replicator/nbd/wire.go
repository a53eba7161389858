package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Numbers of the protocol: "Values" in its specification.
const (
	magicServer = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption = 0x49484156454F5054 // "IHAVEOPT"
	magicReply  = 0x0003e889045565a9
	magicAsk    = 0x25609513
	magicSimple = 0x67446698
	magicChunk  = 0x668e33ef

	// Handshake flags, the server's and the client's.
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1

	// Transmission flags.
	flagHasFlags  = 1 << 0
	flagReadOnly  = 1 << 1
	flagSendDF    = 1 << 7
	flagMultiConn = 1 << 8

	optExportName  = 1
	optAbort       = 2
	optList        = 3
	optInfo        = 6
	optGo          = 7
	optStructured  = 8
	optListContext = 9
	optSetContext  = 10

	repAck     = 1
	repServer  = 2
	repInfo    = 3
	repContext = 4

	repErrUnsupported = 1<<31 + 1
	repErrPolicy      = 1<<31 + 2
	repErrInvalid     = 1<<31 + 3
	repErrUnknown     = 1<<31 + 6
	repErrTooBig      = 1<<31 + 9

	infoExport    = 0
	infoName      = 1
	infoBlockSize = 3

	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7

	cmdFlagDF  = 1 << 2
	cmdFlagOne = 1 << 3

	chunkDone        = 1 << 0 // a flag
	chunkNone        = 0
	chunkData        = 1
	chunkHole        = 2
	chunkStatus      = 5
	chunkError       = 1<<15 + 1
	stateHole        = 1 << 0
	stateZero        = 1 << 1
	errnoPermission  = 1
	errnoIO          = 5
	errnoInvalid     = 22
	errnoUnsupported = 95
	errnoShutdown    = 108
)

// What is accepted of a client.
const (
	maxName    = 4096     // "Conventions": a string is at most so long
	maxOption  = 64 << 10 // bytes of one option's data that are looked at
	maxSkipped = 1 << 20  // and that are passed over to answer that it is too much
	maxOptions = 128      // options of one handshake
	maxQueries = 64       // of one context option
	maxRead    = 32 << 20 // bytes of one read: "Block size constraints", what any client may rely on
	maxAtOnce  = 64       // requests of one client in flight
	maxSpans   = 4096     // of one block status reply: 32 KiB
)

const contextName = "base:allocation"

// contextID is the one metadata context's number.
const contextID = 1

// errOption: an option whose data is not what the protocol says.
var errOption = errors.New("malformed option")

// infoRequest is the data of an info or go option: the name of an export, and what the client wants to know of it.
type infoRequest struct {
	name string
	want []uint16
}

func parseInfo(b []byte) (infoRequest, error) {
	name, rest, err := cutString(b)
	if err != nil {
		return infoRequest{}, err
	}
	if len(rest) < 2 {
		return infoRequest{}, fmt.Errorf("%w: no number of information requests", errOption)
	}
	n := int(binary.BigEndian.Uint16(rest))
	rest = rest[2:]
	if len(rest) != 2*n {
		return infoRequest{}, fmt.Errorf("%w: %d bytes for %d information requests", errOption, len(rest), n)
	}
	r := infoRequest{name: name}
	for ; len(rest) > 0; rest = rest[2:] {
		r.want = append(r.want, binary.BigEndian.Uint16(rest))
	}
	return r, nil
}

// contextRequest is the data of an option that lists or sets metadata contexts.
type contextRequest struct {
	name    string
	queries []string
}

func parseContexts(b []byte) (contextRequest, error) {
	name, rest, err := cutString(b)
	if err != nil {
		return contextRequest{}, err
	}
	if len(rest) < 4 {
		return contextRequest{}, fmt.Errorf("%w: no number of queries", errOption)
	}
	n := binary.BigEndian.Uint32(rest)
	rest = rest[4:]
	if n > maxQueries {
		return contextRequest{}, errTooBig
	}
	r := contextRequest{name: name}
	for range n {
		var q string
		if q, rest, err = cutString(rest); err != nil {
			return contextRequest{}, err
		}
		r.queries = append(r.queries, q)
	}
	if len(rest) > 0 {
		return contextRequest{}, fmt.Errorf("%w: %d bytes too many", errOption, len(rest))
	}
	return r, nil
}

var errTooBig = errors.New("too many queries")

// cutString takes a string with its length off the front of b.
func cutString(b []byte) (string, []byte, error) {
	if len(b) < 4 {
		return "", nil, fmt.Errorf("%w: no length of a string", errOption)
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if n > maxName || int64(n) > int64(len(b)) {
		return "", nil, fmt.Errorf("%w: a string of %d bytes", errOption, n)
	}
	return string(b[:n]), b[n:], nil
}

// request is one request of the transmission phase.
type request struct {
	flags, kind uint16
	cookie      uint64
	off         uint64
	length      uint32
}

const requestSize = 28

var errRequest = errors.New("not a request")

func parseRequest(b *[requestSize]byte) (request, error) {
	if binary.BigEndian.Uint32(b[0:]) != magicAsk {
		return request{}, errRequest
	}
	return request{
		flags: binary.BigEndian.Uint16(b[4:]), kind: binary.BigEndian.Uint16(b[6:]), cookie: binary.BigEndian.Uint64(b[8:]),
		off: binary.BigEndian.Uint64(b[16:]), length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

// listable reports whether a name can be told to clients.
func listable(name string) bool {
	if len(name) > maxName || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if r == 0 {
			return false
		}
	}
	return true
}
