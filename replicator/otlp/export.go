package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// batch is how many spans go into a request.
const batch = 512

// tryAgain is how long the second try of a request waits.
const tryAgain = time.Second

// Export sends what ended so far, and waits for the collector no longer than the variables say, at most 4 s. Its errors repeat no part of the
// collector's URL but the host. A nil Tracer has nothing to send.
func (t *Tracer) Export(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	spans := t.done
	t.done = nil
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.o.timeout)
	defer cancel()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, transport.DisableKeepAlives = t.o.tls, true
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for part := range slices.Chunk(spans, batch) {
		if err := t.send(ctx, client, t.request(part)); err != nil {
			return fmt.Errorf("trace to %s: %w", t.o.to.Host, err)
		}
	}
	return nil
}

// errBusy is of an answer that may be another one later.
var errBusy = errors.New("it may be over")

func (t *Tracer) send(ctx context.Context, client *http.Client, body []byte) error {
	if t.o.gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(body)
		if err = errors.Join(err, z.Close()); err != nil {
			return err
		}
		body = b.Bytes()
	}
	err := t.post(ctx, client, body)
	if !errors.Is(err, errBusy) {
		return err
	}
	select {
	case <-time.After(tryAgain):
		return t.post(ctx, client, body)
	case <-ctx.Done():
		return err
	}
}

func (t *Tracer) post(ctx context.Context, client *http.Client, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.o.to.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("its URL cannot be used")
	}
	for name, value := range t.o.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "holdfast/"+t.o.version)
	if t.o.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := client.Do(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("no answer within the time there is")
	case err != nil:
		return withoutURL(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // which spans it did not take is of no use to anybody
	switch code := answer.StatusCode; {
	case code == 429 || code >= 502 && code <= 504:
		return fmt.Errorf("it answers %s%w", answer.Status, silent{errBusy})
	case code < 200 || code > 299:
		return fmt.Errorf("it answers %s", answer.Status)
	}
	return nil
}

// silent adds nothing to an error's text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }
