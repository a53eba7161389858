package s3source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// smallObject is read whole inside Open, so that a wrong byte can be read again before anyone has seen it. Larger ones
// stream.
const smallObject = 64 << 10

// wrongReads is how many reads of one object may disagree with its checksum before it is called corrupt.
const wrongReads = 3

// Open implements source.View.
func (v *view) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	if e.Kind != format.KindObject {
		return nil, fmt.Errorf("open %q of %s: it has no content", e.Key, v.s.name)
	}
	if off < 0 || off > e.Size {
		return nil, fmt.Errorf("open %q of %s at %d of %d bytes: out of range", e.Key, v.s.name, off, e.Size)
	}
	if n < 0 || n > e.Size-off {
		n = e.Size - off
	}
	if off == 0 && n == e.Size && n <= smallObject {
		return v.openSmall(ctx, e)
	}
	if n == 0 && off > 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return v.openStream(ctx, e, off, n)
}

// openSmall reads the whole object and gives it from memory.
func (v *view) openSmall(ctx context.Context, e *format.Entry) (io.ReadCloser, error) {
	b := make([]byte, e.Size)
	for {
		st, err := v.openStream(ctx, e, 0, e.Size)
		if err != nil {
			return nil, err
		}
		_, err = io.ReadFull(st, b)
		if err == nil && len(b) == 0 {
			if _, err = st.Read(make([]byte, 1)); err == io.EOF { //nolint:errorlint // Read gives it bare
				err = nil
			}
		}
		_ = st.Close()
		var wrong *mismatch
		switch {
		case errors.As(err, &wrong) && !wrong.final:
			continue
		case err != nil:
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
}

// stream is a read of one object, over as many requests as it takes.
type stream struct {
	v        *view
	parent   context.Context //nolint:containedctx // a stream ends with the call that opened it
	e        format.Entry    // as listed
	off, end int64
	form     form
	first    *s3.GetObjectOutput // until it was made use of
	silent   bool                // nobody said how long it is
	begun    bool                // there was an answer
	tag      string              // its ETag: of those that follow, too
	look     bool                // what was listed is to be looked up again at the end: nothing else ties the bytes to it
	check    *check
	tries    int // in a row without a byte gained
	err      error

	body   io.ReadCloser
	cancel context.CancelFunc
	idle   *time.Timer
}

// withChecksums asks for the checksums without making the SDK check them: it cannot over a resumed stream.
func withChecksums(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, addChecksumMode)
}

func addChecksumMode(stack *middleware.Stack) error {
	return smithyhttp.SetHeaderValue("x-amz-checksum-mode", "ENABLED")(stack)
}

// request asks for what is left of the stream.
func (t *stream) request() (*s3.GetObjectOutput, error) {
	ctx, cancel := context.WithCancel(awsclient.WithEncoding(t.parent, t.form.encoding))
	out, err := t.ask(ctx, t.v.pins.conditional(&t.e))
	if err != nil && t.v.pins.refusedPin(t.parent, &t.e, err) {
		out, err = t.ask(ctx, false)
	}
	if err != nil {
		cancel()
		return nil, t.v.objectError(t.parent, "read", &t.e, err)
	}
	if err := t.agrees(out); err != nil {
		cancel()
		_ = out.Body.Close()
		return nil, err
	}
	if !t.begun {
		t.v.keys.saw(out.SSEKMSKeyId)
	}
	t.begun = true
	t.body, t.cancel = out.Body, cancel
	t.idle = time.AfterFunc(t.v.s.o.IdleTimeout, cancel)
	t.idle.Stop() // it runs only while a read waits: a slow reader is not a stalled server
	return out, nil
}

// ranged reports whether a range is asked for.
func (t *stream) ranged() bool { return t.form.ranged || t.off > 0 || t.end < t.e.Size }

// ask sends the request.
func (t *stream) ask(ctx context.Context, pinned bool) (*s3.GetObjectOutput, error) {
	v := t.v
	in := &s3.GetObjectInput{Bucket: &v.s.o.Bucket, Key: &t.e.Key, RequestPayer: v.payer()}
	if pinned {
		tag := `"` + t.e.ETag + `"`
		in.IfMatch = &tag
	}
	if v.s.all() {
		in.VersionId = optional(t.e.Version)
	}
	if t.ranged() {
		r := "bytes=" + strconv.FormatInt(t.off, 10) + "-" + strconv.FormatInt(t.last(), 10)
		in.Range = &r
	}
	return v.s.client.GetObject(ctx, in, withChecksums)
}

// last is the last byte that a range asks for.
func (t *stream) last() int64 { return max(t.end, t.off+1) - 1 }

// agrees checks that the answer is of what was asked for: not every server heeds If-Match and Range.
func (t *stream) agrees(out *s3.GetObjectOutput) error {
	if err := t.pinned(out); err != nil {
		return err
	}
	if !t.ranged() {
		if t.silent = out.ContentLength == nil; !t.silent && *out.ContentLength != t.e.Size {
			return &otherLength{got: *out.ContentLength, want: t.e.Size}
		}
		return nil
	}
	want := fmt.Sprintf("bytes %d-%d/%d", t.off, t.last(), t.e.Size)
	length := t.last() + 1 - t.off
	switch got := strings.TrimSpace(str(out.ContentRange)); {
	case got == want && (out.ContentLength == nil || *out.ContentLength == length):
		return nil
	case !strings.HasPrefix(got, "bytes "+strconv.FormatInt(t.off, 10)+"-"):
		return &source.Unreadable{Key: t.e.Key, Reason: "server ignores ranges",
			Err: fmt.Errorf("asked from byte %d, got content range %q", t.off, got)}
	default:
		return &source.Unreadable{Key: t.e.Key, Reason: "delivered with another length than listed",
			Err: fmt.Errorf("asked for %s, got content range %q of %d bytes", want, got, deref(out.ContentLength, -1))}
	}
}

func deref(p *int64, or int64) int64 {
	if p == nil {
		return or
	}
	return *p
}

// Read implements io.Reader. The last bytes are given only when the whole is right.
func (t *stream) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	if len(p) == 0 && t.off < t.end {
		return 0, nil
	}
	n, err := t.read(p)
	if err == nil && t.off == t.end {
		err = t.finish()
		if err == nil && n == 0 {
			err = io.EOF
		}
	}
	if err != nil {
		t.err, n = err, 0
	}
	return n, err
}

// read gives the next bytes, resuming the stream as often as it must.
func (t *stream) read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), t.end-t.off)]
	for len(p) > 0 {
		t.idle.Reset(t.v.s.o.IdleTimeout)
		n, err := t.body.Read(p)
		t.idle.Stop()
		if n > 0 {
			t.check.add(p[:n])
			t.off += int64(n)
			t.tries = 0
			return n, nil // an error, if there is one, comes again
		}
		if err == nil {
			continue
		}
		if t.silent && err == io.EOF { //nolint:errorlint // Read gives it bare
			return 0, t.v.wrong(&t.e, fmt.Sprintf("the content ends after %d of the %d bytes that are listed", t.off, t.e.Size), "a server or front may change what is stored")
		}
		if err := t.resume(err); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// resume opens the rest of the object after its stream broke off.
func (t *stream) resume(cause error) error {
	t.stop()
	if err := t.parent.Err(); err != nil {
		return fmt.Errorf("read %q of %s: %w", t.e.Key, t.v.s.name, err)
	}
	if t.tries == resumes {
		return &source.Unreadable{Key: t.e.Key, Reason: "stream breaks off", Err: fmt.Errorf("at byte %d: %w", t.off, cause)}
	}
	t.tries++
	if err := t.pause(); err != nil {
		return err
	}
	_, err := t.request()
	return err
}

// pause waits between tries: at once the first time, then longer and longer.
func (t *stream) pause() error {
	if t.tries == 1 {
		return nil
	}
	wait := time.NewTimer(min(t.v.s.o.MaxBackoff, 250*time.Millisecond<<t.tries))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-t.parent.Done():
		return fmt.Errorf("read %q of %s: %w", t.e.Key, t.v.s.name, t.parent.Err())
	}
}

// finish checks the whole: that the content ends where it was listed to end, what its checksum says, and, where no answer
// was tied to what was listed, that it is still there.
func (t *stream) finish() error {
	if err := t.ended(); err != nil {
		return err
	}
	t.stop()
	if t.look {
		t.look = false
		if err := t.v.pins.stillListed(t.parent, &t.e); err != nil {
			return err
		}
	}
	if !t.check.ok() {
		if !t.check.tag {
			return t.v.wrong(&t.e, "its bytes do not match its "+t.check.name, "")
		}
		opaque, err := t.v.pins.tagsAreOpaque(t.parent, &t.e)
		if err != nil {
			return err
		}
		if !opaque {
			return t.v.wrong(&t.e, "its bytes do not match its "+t.check.name, "if the vendor's ETags are no MD5s, set etag: opaque")
		}
	} else if t.check != nil && t.check.tag && t.e.Size > 0 {
		t.v.s.facts.learn(md5Tags)
	}
	t.check = nil
	return nil
}

// ended checks that nothing follows the last byte.
func (t *stream) ended() error {
	if t.body == nil {
		return nil
	}
	var one [1]byte
	t.idle.Reset(t.v.s.o.IdleTimeout)
	defer t.idle.Stop()
	for {
		n, err := t.body.Read(one[:])
		switch {
		case n > 0 && t.off == 0 && t.end == 0 && t.e.Size > 0:
			return nil // no byte of it was asked for, and a range has at least one
		case n > 0:
			return t.v.wrong(&t.e, fmt.Sprintf("the content goes on after the %d bytes that are listed", t.end), "a server or front may unpack what is stored")
		case err == io.EOF: //nolint:errorlint // Read gives it bare
			return nil
		case err != nil && t.parent.Err() != nil:
			return fmt.Errorf("read %q of %s: %w", t.e.Key, t.v.s.name, t.parent.Err())
		case err != nil && t.silent:
			return t.v.wrong(&t.e, fmt.Sprintf("the content does not end after the %d bytes that are listed: %v", t.end, err), "")
		case err != nil:
			return nil // all bytes of a known length are here
		}
	}
}

// stop lets go of the current answer.
func (t *stream) stop() {
	if t.body == nil {
		return
	}
	t.idle.Stop()
	_ = t.body.Close()
	t.cancel()
	t.body = nil
}

// Close implements io.Closer.
func (t *stream) Close() error {
	t.stop()
	if t.err == nil {
		t.err = errors.New("read after close")
	}
	return nil
}

// mismatch is a read that disagrees with what the source itself says of the object. The first ones are worth another
// try and say so by being source.ErrChanged; the last is source.ErrCorrupt.
type mismatch struct {
	what  string
	final bool
}

func (m *mismatch) Error() string {
	return m.what + ": " + m.Unwrap().Error()
}

func (m *mismatch) Unwrap() error {
	if m.final {
		return source.ErrCorrupt
	}
	return source.ErrChanged
}

// maxBad bounds how many objects are remembered for a wrong read; beyond that the first one counts.
const maxBad = 4096

// wrong counts a wrong read of e; advice may say what to do if it stays so.
func (v *view) wrong(e *format.Entry, what, advice string) error {
	id := e.Key + "\x00" + e.Version + "\x00" + e.ETag
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.known.bad[id] + 1
	if n < wrongReads && (n > 1 || len(v.known.bad) < maxBad) {
		v.known.bad[id] = n
	} else {
		n = wrongReads
	}
	m := &mismatch{what: fmt.Sprintf("read %q of %s: %s", e.Key, v.s.name, what), final: n == wrongReads}
	if !m.final || advice == "" {
		return m
	}
	return &source.Unreadable{Key: e.Key, Reason: what + "; " + advice, Err: m}
}
