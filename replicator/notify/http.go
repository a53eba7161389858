package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader carries the time and the HMAC of what a webhook is sent: t=UNIX,v1=HEX.
const SignatureHeader = "Holdfast-Signature"

// poster sends requests to one host.
type poster struct {
	client *http.Client
	agent  string
	pause  time.Duration // before the second try
}

func newPoster(agent string) *poster {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true // one request; no connection is left behind
	return &poster{agent: agent, pause: tryAgain, client: &http.Client{
		Transport: t,
		// What is sent is for the host that is configured, and for no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4 << 10

// passing marks what may be over when it is tried again. It adds nothing to the error's text.
type passing struct{ error }

func (p passing) Unwrap() error { return p.error }

// tryAgain is how long the second try waits. There are two: whoever is away longer is told by the next command.
const tryAgain = time.Second

// post sends one request, twice where the first try came to nothing that may pass, and gives the answer's text. Its errors repeat
// no part of the URL but the host.
func (p *poster) post(ctx context.Context, to string, header http.Header, body []byte) (string, error) {
	text, err := p.once(ctx, to, header, body)
	if !errors.As(err, new(passing)) {
		return text, err
	}
	select {
	case <-time.After(p.pause):
	case <-ctx.Done():
		return "", err
	}
	return p.once(ctx, to, header, body)
}

func (p *poster) once(ctx context.Context, to string, header http.Header, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return "", errors.New("its URL cannot be used")
	}
	req.Header = header.Clone()
	req.Header.Set("User-Agent", p.agent)
	answer, err := p.client.Do(req)
	if err != nil {
		return "", unaddressed(ctx, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch code := answer.StatusCode; {
	case code >= 500 || code == http.StatusTooManyRequests:
		return "", passing{fmt.Errorf("it answers %s", answer.Status)}
	case code >= 300 && code < 400:
		return "", fmt.Errorf("it answers %s: redirects are not followed, name the final URL", answer.Status)
	case code < 200 || code >= 400:
		return "", fmt.Errorf("it answers %s", answer.Status)
	}
	if err != nil {
		return "", unaddressed(ctx, err)
	}
	return string(text), nil
}

// unaddressed is an error without the URL that net/http puts before it: that may be a secret.
func unaddressed(ctx context.Context, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if ctx.Err() != nil {
		return errors.New("no answer within the time there is")
	}
	return passing{err}
}

// checkURL takes http and https URLs only, and gives the host.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must be a URL such as https://hooks.example.com/path")
	case u.User != nil:
		return nil, errors.New("must be without user and password")
	case u.Fragment != "":
		return nil, errors.New("must be without #")
	}
	return u, nil
}

// Webhook posts messages as JSON, signed if there is a secret.
type Webhook struct {
	to     *url.URL
	secret []byte
	poster *poster
	now    func() time.Time
}

// NewWebhook takes a URL, which may be a secret itself, and the secret of the signature; none: nothing is signed.
func NewWebhook(to string, secret []byte, agent string, now func() time.Time) (*Webhook, error) {
	u, err := checkURL(to)
	if err != nil {
		return nil, fmt.Errorf("webhook: the URL %w", err)
	}
	return &Webhook{u, secret, newPoster(agent), now}, nil
}

// Name implements Receiver.
func (w *Webhook) Name() string { return "webhook " + w.to.Host }

// Send implements Receiver.
func (w *Webhook) Send(ctx context.Context, m *Message) error {
	body, err := marshal(m)
	if err != nil {
		return err
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if len(w.secret) > 0 {
		h.Set(SignatureHeader, sign(w.secret, w.now(), body))
	}
	_, err = w.poster.post(ctx, w.to.String(), h, body)
	return err
}

// marshal writes a message so that people can read it too: nothing here is put into a web page.
func marshal(m *Message) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(m)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// sign vouches for a body and for the time at which it was sent, so that one that was overheard is of no use later.
func sign(secret []byte, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Ping tells a switch in the way of healthchecks.io: a POST to URL/start, URL, URL/fail or URL/log, with a text.
type Ping struct {
	to     *url.URL
	poster *poster
}

// NewPing takes the switch's URL, which is a secret.
func NewPing(to, agent string) (*Ping, error) {
	u, err := checkURL(to)
	if err != nil {
		return nil, fmt.Errorf("ping: the URL %w", err)
	}
	return &Ping{u, newPoster(agent)}, nil
}

// Name implements Pinger.
func (p *Ping) Name() string { return "ping " + p.to.Host }

// Ping implements Pinger.
func (p *Ping) Ping(ctx context.Context, e Event, run, text string) error {
	to := *p.to
	if e != Succeeded {
		to = *to.JoinPath(string(e))
	}
	q := to.Query()
	q.Set("rid", run)
	to.RawQuery = q.Encode()
	answer, err := p.poster.post(ctx, to.String(), http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(text))
	if err == nil && strings.Contains(answer, "(not found)") { // with status 200
		return errors.New("it knows no check of this URL")
	}
	return err
}

// newRun is a UUID, which healthchecks.io takes to tell runs apart that overlap.
func newRun() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
