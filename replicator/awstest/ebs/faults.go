package ebs

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

// Kind of a fault.
type Kind int

const (
	None           Kind = iota
	Throttle            // RequestThrottledException, with Reason
	Throttling          // ThrottlingException, the SDKs' own word
	Concurrency         // ConcurrentLimitExceededException
	Internal            // 500
	Unavailable         // 503 without a body that means anything
	Drop                // the connection is closed without an answer
	Hang                // no answer for Wait
	Expired             // INVALID_BLOCK_TOKEN or INVALID_PAGE_TOKEN, whatever the token
	Denied              // AccessDeniedException DEPENDENCY_ACCESS_DENIED: the KMS key
	Gone                // ResourceNotFoundException
	BlockData           // ValidationException "Failed to read block data" [RETRY]
	Stale               // InvalidSignatureException: the signature has expired [RETRY]
	BadBlock            // ValidationException INVALID_BLOCK, to be had for good
	EmptyPage           // a page without blocks and with a token
	Truncate            // half of the block, with the length of the whole announced
	Short               // half of the block, and its length announced
	Corrupt             // a flipped bit; header and length are right
	WrongChecksum       // the header is of something else
	NoChecksum          // no checksum header
	WrongAlgorithm      // a checksum of an algorithm that does not exist
	Swallow             // PutSnapshotBlock: what is kept is not what was sent
	LoseAnswer          // PutSnapshotBlock: kept, and answered with an error
)

// Fault is one thing that goes wrong.
type Fault struct {
	Kind   Kind
	Reason string        // of Throttle
	Wait   time.Duration // of Hang
}

// Inject lets the next n requests of an operation go wrong.
func (s *Server) Inject(op string, f Fault, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.faults[op] = append(s.faults[op], f)
	}
}

// broken is a block that does not do.
type broken struct {
	op, snapshot string
	block        int64
}

// Break lets an operation on one block of a snapshot go wrong, whenever it is asked for; None mends it.
func (s *Server) Break(op, snapshot string, block int64, k Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = map[broken]Fault{}
	}
	s.broken[broken{op, snapshot, block}] = Fault{Kind: k}
}

// Left is how many faults have not happened yet.
func (s *Server) Left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		n += len(f)
	}
	return n
}

func (s *Server) nextFault(op, snapshot string, block int64) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.broken[broken{op, snapshot, block}]; f.Kind != None {
		return f
	}
	if len(s.faults[op]) == 0 {
		return Fault{}
	}
	f := s.faults[op][0]
	s.faults[op] = s.faults[op][1:]
	return f
}

// stops reports whether the request itself is not served.
func (f Fault) stops() bool { return f.Kind > None && f.Kind < EmptyPage }

func (c *call) strike() *Error {
	switch c.fault.Kind {
	case Throttle:
		return &Error{400, "RequestThrottledException", c.fault.Reason, "throttled"}
	case Throttling:
		return &Error{400, "ThrottlingException", "", "Rate exceeded"}
	case Concurrency:
		return &Error{400, "ConcurrentLimitExceededException", "", "too many requests at once"}
	case Internal:
		return &Error{500, "InternalServerException", "", "an internal error has occurred"}
	case Unavailable:
		return &Error{503, "ServiceUnavailable", "", ""}
	case Expired:
		if c.op == "GetSnapshotBlock" {
			return invalid("INVALID_BLOCK_TOKEN", "The block token has expired.")
		}
		return invalid("INVALID_PAGE_TOKEN", "The page token has expired.")
	case Denied:
		return &Error{403, "AccessDeniedException", "DEPENDENCY_ACCESS_DENIED", "The KMS key may not be used."}
	case Gone:
		return notFound(c.id)
	case BlockData:
		return invalid("INVALID_PARAMETER_VALUE", "Failed to read block data")
	case Stale:
		return &Error{403, "InvalidSignatureException", "", "Signature expired: 20261128T120000Z is now earlier than 20261128T121000Z"}
	case BadBlock:
		return invalid("INVALID_BLOCK", "The block is not valid.")
	case Hang:
		select {
		case <-time.After(c.fault.Wait):
		case <-c.r.Context().Done():
		}
	}
	panic(http.ErrAbortHandler) // Drop, and what hung too long: closes the connection
}

// send answers with a block, as the fault has it.
func (c *call) send(b []byte, sum [32]byte) {
	h := c.w.Header()
	h.Set("X-Amz-Data-Length", strconv.Itoa(len(b)))
	h.Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	h.Set("X-Amz-Checksum-Algorithm", "SHA256")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	switch c.fault.Kind {
	case Truncate:
		b = b[:len(b)/2]
	case Short:
		b = b[:len(b)/2]
		h.Set("Content-Length", strconv.Itoa(len(b)))
		h.Set("X-Amz-Data-Length", strconv.Itoa(len(b)))
	case Corrupt:
		b[len(b)/3] ^= 0x10
	case WrongChecksum:
		sum[0] ^= 1
		h.Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	case NoChecksum:
		h.Del("X-Amz-Checksum")
	case WrongAlgorithm:
		h.Set("X-Amz-Checksum-Algorithm", "MD4")
	}
	c.w.WriteHeader(200)
	_, _ = c.w.Write(b)
}
