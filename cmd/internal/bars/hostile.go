package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

const (
	hostileBar     = 1.1                    // the good vault's commit, against its time beside a healthy twin
	hostileObjects = 6                      // of the source, all new in each run
	hostileSize    = 20 << 20               // bytes of each
	hostileRate    = 1900 << 10             // bytes a second that the source gives: a run takes over a minute, whatever the machine
	hostileLeast   = 60 * time.Second       // that it has to take
	hostileJunk    = 400 << 20              // bytes of a huge answer
	hostilePause   = 700 * time.Millisecond // before each answer of the slow vault
)

// front stands before a server, passes on, notes when a commit comes, and misbehaves as it is told.
type front struct {
	*httptest.Server
	pass http.Handler

	mu     sync.Mutex
	mode   string
	commit time.Time
}

func newFront(s *servers.Server) (*front, error) {
	to, err := url.Parse(s.Direct)
	if err != nil {
		return nil, err
	}
	f := &front{pass: &httputil.ReverseProxy{
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header["X-Forwarded-For"] = nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	return f, nil
}

func (f *front) set(mode string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.commit = mode, time.Time{}
}

func (f *front) committed() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commit
}

func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	mode := f.mode
	f.mu.Unlock()
	if !f.misbehave(mode, w, r) {
		return
	}
	f.pass.ServeHTTP(w, r)
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/points/") && !r.URL.Query().Has("retention") {
		f.mu.Lock()
		f.commit = time.Now()
		f.mu.Unlock()
	}
}

// misbehave reports whether the request is passed on.
func (f *front) misbehave(mode string, w http.ResponseWriter, r *http.Request) bool {
	listing := r.URL.Query().Has("versions")
	object := strings.Count(strings.TrimPrefix(r.URL.Path, "/"), "/") > 0 && !strings.HasSuffix(r.URL.Path, "/")
	content := r.Method == http.MethodGet && object && !r.URL.Query().Has("retention")
	switch {
	case mode == "slow":
		time.Sleep(hostilePause)
	case mode == "hung":
		_, _ = io.Copy(io.Discard, r.Body) // whatever comes of it
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case mode == "endless" && listing:
		f.endless(w, r)
		return false
	case mode == "huge" && (listing || content):
		w.WriteHeader(http.StatusOK)
		junk := []byte(strings.Repeat("<Version><Key>junk</Key></Version>", 2000))
		for n := 0; n < hostileJunk; n += len(junk) {
			if _, err := w.Write(junk); err != nil {
				return false
			}
		}
		return false
	case mode == "forged" && content:
		_, _ = fmt.Fprintf(w, "forged: %d", time.Now().UnixNano()) // a client that has gone does not matter
		return false
	case mode == "withholding" && listing:
		_, _ = io.WriteString(w, `<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>`)
		return false
	case mode == "withholding" && (content || object && r.Method == http.MethodHead):
		w.WriteHeader(http.StatusNotFound)
		return false
	}
	return true
}

// endless gives a page of names that nothing knows, with more to come.
func (f *front) endless(w http.ResponseWriter, r *http.Request) {
	prefix := r.URL.Query().Get("prefix")
	from := 0
	_, _ = fmt.Sscanf(strings.TrimPrefix(r.URL.Query().Get("key-marker"), prefix+"~"), "%d", &from) // none: from the beginning
	_, _ = io.WriteString(w, `<ListVersionsResult><EncodingType>url</EncodingType>`)
	key := ""
	for i := range 1000 {
		key = fmt.Sprintf("%s~%012d", prefix, from+i+1)
		_, _ = fmt.Fprintf(w, `<Version><Key>%s</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><LastModified>2026-01-02T03:04:05Z</LastModified><Size>1</Size></Version>`, key)
	}
	_, _ = fmt.Fprintf(w, `<IsTruncated>true</IsTruncated><NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker></ListVersionsResult>`, key)
}

// paced lets a bucket be read at a rate.
func paced(s *servers.Server) (*httptest.Server, error) {
	to, err := url.Parse(s.Direct)
	if err != nil {
		return nil, err
	}
	limit := rate.NewLimiter(hostileRate, 64<<10)
	pass := &httputil.ReverseProxy{
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header["X-Forwarded-For"] = nil
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &pacedBody{ReadCloser: r.Body, limit: limit, ctx: r.Request.Context()}
			return nil
		},
	}
	return httptest.NewServer(pass), nil
}

type pacedBody struct {
	io.ReadCloser
	limit *rate.Limiter
	ctx   context.Context // of the request
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 32<<10)])
	if werr := b.limit.WaitN(b.ctx, n); werr != nil {
		return n, werr
	}
	return n, err
}

// hostile measures when the good one of two vaults has its commit.
func hostile(ctx context.Context, w *world) error {
	h, err := newHostile(ctx, w)
	if err != nil {
		return err
	}
	healthy, err := h.round(ctx, "healthy")
	if err != nil {
		return err
	}
	w.bar(healthy >= hostileLeast, "healthy twins: the commit came after %.1f s, at least %.0f s to be measured", healthy.Seconds(), hostileLeast.Seconds())
	for _, mode := range []string{"slow", "forged", "foreign", "withholding", "huge", "hung", "endless"} {
		took, err := h.round(ctx, mode)
		if err != nil {
			return err
		}
		ratio := took.Seconds() / healthy.Seconds()
		w.bar(took > 0 && ratio <= hostileBar, "%s: the good vault's commit came after %.1f s, %.2f times that of healthy twins, bar %.2f", mode, took.Seconds(), ratio, hostileBar)
	}
	return nil
}

// hostileArena is a job with a good vault and one that turns hostile.
type hostileArena struct {
	*pair
	bucket    *bucket
	good, bad *front
	foreign   place
	serial    byte
}

func newHostile(ctx context.Context, w *world) (*hostileArena, error) {
	b, err := w.newBucket(ctx, servers.KindVersityGW)
	if err != nil {
		return nil, err
	}
	source, err := b.asSource(ctx)
	if err != nil {
		return nil, err
	}
	slow, err := paced(b.s)
	if err != nil {
		return nil, err
	}
	w.extra = append(w.extra, func() error { slow.Close(); return nil })
	source.url = strings.Replace(source.url, url.QueryEscape(b.s.Direct), url.QueryEscape(slow.URL), 1)
	source.url = strings.Replace(source.url, b.s.Direct, slow.URL, 1)
	h := &hostileArena{bucket: b}
	var vaults []*named
	for _, v := range []struct {
		name string
		kind servers.Kind
		at   **front
	}{{"bad", servers.KindVersityGW, &h.bad}, {"good", servers.KindMinIO, &h.good}} {
		s, err := w.server(ctx, v.kind)
		if err != nil {
			return nil, err
		}
		f, err := newFront(s)
		if err != nil {
			return nil, err
		}
		w.extra = append(w.extra, func() error { f.CloseClientConnections(); f.Close(); return nil })
		*v.at = f
		n := &named{name: v.name}
		if err := n.bucket(ctx, s, f.URL); err != nil {
			return nil, err
		}
		vaults = append(vaults, n)
	}
	if h.foreign, err = foreignVault(ctx, w, source, h.bad.URL); err != nil {
		return nil, err
	}
	if h.pair, err = newPair(ctx, w, source, vaults...); err != nil {
		return nil, err
	}
	h.more = "progress: {stall: 5s}\n"
	return h, nil
}

// foreignVault is a bucket with somebody else's repository.
func foreignVault(ctx context.Context, w *world, source place, endpoint string) (place, error) {
	s, err := w.server(ctx, servers.KindVersityGW)
	if err != nil {
		return place{}, err
	}
	n := &named{name: "foreign"}
	if err := n.bucket(ctx, s, endpoint); err != nil {
		return place{}, err
	}
	_, err = newPair(ctx, w, source, n)
	return n.write, err
}

// round changes the whole source, makes a point, and gives when the good vault had its commit.
func (h *hostileArena) round(ctx context.Context, mode string) (time.Duration, error) {
	h.serial++
	c := h.bucket.s.Admin()
	for i := range hostileObjects {
		_, err := c.PutObject(ctx, h.bucket.name, fmt.Sprintf("noise/%03d.bin", i), newNoise(h.serial*16+byte(i), hostileSize, 0), hostileSize,
			minio.PutObjectOptions{PartSize: 16 << 20, NumThreads: 1, DisableContentSha256: true, ContentType: "application/octet-stream"})
		if err != nil {
			return 0, err
		}
	}
	time.Sleep(2100 * time.Millisecond) // what is read within two seconds of its change is read again
	own := h.vaults[0].write
	if mode == "foreign" {
		h.vaults[0].write = h.foreign
	}
	if err := h.configure(); err != nil {
		return 0, err
	}
	h.good.set("")
	h.bad.set(mode)
	began := time.Now()
	o, err := h.runAll(ctx, mode)
	if err != nil {
		return 0, err
	}
	h.bad.set("")
	h.vaults[0].write = own
	at := h.good.committed()
	if at.IsZero() || o.lines["good"].Status != "complete" {
		fmt.Println(o.diag)
		return 0, errors.Join(err, fmt.Errorf("%s: the good vault has no point: %s", mode, o.lines["good"].Error))
	}
	if e := o.lines["bad"].Error; e != "" {
		fmt.Println("  bad:", e)
	}
	return at.Sub(began), nil
}
