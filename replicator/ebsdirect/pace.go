package ebsdirect

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
)

// pace is a token bucket that finds out how much it may give: a little less whenever the server throttles, a little more
// as long as it does not, never above what it began with.
type pace struct {
	limit *rate.Limiter
	most  rate.Limit

	mu     sync.Mutex
	since  time.Time // of the counts below
	served int
	denied int
}

const (
	paceStep  = 100 * time.Millisecond // how often the pace is looked at
	paceLeast = 2                      // requests a second, whatever the server says
)

func newPace(perSecond float64) *pace {
	return &pace{limit: rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond/50), 1)), most: rate.Limit(perSecond), since: time.Now()}
}

func (p *pace) wait(ctx context.Context) error { return p.limit.Wait(ctx) }

// saw takes note of an answer.
func (p *pace) saw(throttled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if throttled {
		p.denied++
	} else {
		p.served++
	}
	took := time.Since(p.since)
	if took < paceStep || p.served+p.denied < 8 {
		return
	}
	now := p.limit.Limit()
	switch {
	case p.denied == 0:
		now *= 1.015
	case p.denied*5 > p.served: // far above: what was served is the limit
		now = max(now*0.6, min(now*0.9, rate.Limit(float64(p.served)/took.Seconds())))
	case p.denied*25 > p.served:
		now *= 0.97
	default:
		now *= 0.995 // a few in a hundred: this is the limit
	}
	p.limit.SetLimit(min(max(now, paceLeast), p.most))
	p.since, p.served, p.denied = time.Now(), 0, 0
}

// paces are those of a region: reading and writing, by snapshot and by account, and lists.
type paces struct {
	o       Options
	account *pace
	lists   *pace

	mu        sync.Mutex
	snapshots map[string]*pace
}

func newPaces(o Options) *paces {
	return &paces{o: o, account: newPace(o.BlocksPerAccount), lists: newPace(o.Lists), snapshots: map[string]*pace{}}
}

// maxPaces bounds what is remembered of snapshots; one that is forgotten begins anew.
const maxPaces = 256

func (p *paces) snapshot(id string) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.snapshots[id]
	if s == nil {
		if len(p.snapshots) >= maxPaces {
			clear(p.snapshots)
		}
		s = newPace(p.o.BlocksPerSnapshot)
		p.snapshots[id] = s
	}
	return s
}

// of gives the paces that hold for a request: the narrower one first.
func (p *paces) of(r *http.Request) []*pace {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) == 4 && parts[2] == "blocks":
		return []*pace{p.snapshot(parts[1]), p.account}
	case len(parts) == 3 && r.Method == http.MethodGet:
		return []*pace{p.lists}
	}
	return nil
}

// paced sends each try of a request in its turn, with a deadline of its own.
type paced struct {
	next    http.RoundTripper
	paces   *paces
	timeout time.Duration
}

// RoundTrip implements http.RoundTripper.
func (t *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	all := t.paces.of(r)
	for _, p := range all {
		if err := p.wait(r.Context()); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), t.timeout)
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	which := -1
	if resp.StatusCode >= 400 {
		which, err = throttledBy(resp)
	}
	for i, p := range all {
		p.saw(min(which, len(all)-1) == i)
	}
	resp.Body = &endsTry{resp.Body, cancel}
	return resp, err
}

// throttledBy tells from an error answer which pace was too fast: 0 the narrower, 1 the account's, -1 none. It puts the
// body back.
func throttledBy(resp *http.Response) (int, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		body = nil // the status says enough
	}
	if err := resp.Body.Close(); err != nil {
		return -1, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	code, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	if !awsclient.Throttled(code) && resp.StatusCode != http.StatusTooManyRequests {
		return -1, nil
	}
	if bytes.Contains(body, []byte("ACCOUNT_THROTTLED")) {
		return 1, nil
	}
	return 0, nil
}

// endsTry ends a try's deadline with its body.
type endsTry struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (e *endsTry) Close() error {
	defer e.cancel()
	return e.ReadCloser.Close()
}
