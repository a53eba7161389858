// Package servers runs real S3 servers as separate processes for the project's tests: versitygw, MinIO and gofakes3.
//
// Each is built from its Go module at a pinned version, once for the machine, into the user's cache folder. In front of
// each stands a proxy in this process which records every request, so that a test can prove what was never sent. It is
// for tests and measurements only: production code must never import it, and it must never leave a process behind.
package servers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3url"
)

// Kind names a server program.
type Kind string

// The programs there are.
const (
	KindVersityGW Kind = "versitygw" // versions and locks; fast, small
	KindMinIO     Kind = "minio"     // the strictest of them
	KindGoFakeS3  Kind = "gofakes3"  // takes lock headers and ignores them: what must be refused
)

// Both gives the servers that keep locks. With -short it is one of the two, by the test's name: under the race detector each
// test runs on one, and which one differs.
func Both(t testing.TB) []Kind {
	both := []Kind{KindVersityGW, KindMinIO}
	if !testing.Short() {
		return both
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name())) // never fails
	n := h.Sum32() % uint32(len(both))
	return both[n : n+1]
}

// Sweep reports whether all cases run on every server, as .ci/full has it (HOLDFAST_SWEEP=1).
func Sweep() bool { return os.Getenv("HOLDFAST_SWEEP") != "" }

// Turn reports whether case i of a long table runs on a server: they take turns, and with [Sweep] all run on each.
func Turn(i int, kind Kind) bool { return Sweep() || (i%2 == 0) == (kind == KindMinIO) }

// Region is what every server signs for.
const Region = "us-east-1"

// Server is one running server and the proxy before it.
type Server struct {
	Kind     Kind
	Endpoint string            // http://127.0.0.1:PORT of the recording proxy: what tests use
	Direct   string            // the server itself, for measurements; requests there are not recorded
	Root     store.Credentials // the account's root

	proc    *process
	direct  *http.Transport
	proxy   *proxy
	users   userMaker
	cleanup func() error
}

// userMaker is how a kind of server makes a user with a policy.
type userMaker interface {
	newUser(ctx context.Context, s *Server, p Policy) (store.Credentials, error)
	allow(ctx context.Context, s *Server, c store.Credentials, p Policy) error
}

// VersityGW starts a versitygw that ends with the test.
func VersityGW(t testing.TB) *Server { return forTest(t, KindVersityGW) }

// MinIO starts a MinIO that ends with the test.
func MinIO(t testing.TB) *Server { return forTest(t, KindMinIO) }

// GoFakeS3 starts a gofakes3 that ends with the test.
func GoFakeS3(t testing.TB) *Server { return forTest(t, KindGoFakeS3) }

func forTest(t testing.TB, k Kind) *Server {
	t.Helper()
	built(t, k)
	s, err := Start(t.Context(), k)
	if err != nil {
		t.Fatalf("start %s: %v", k, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stop %s: %v", k, err)
		}
	})
	return s
}

// Start builds the server's program if need be and starts it. ctx bounds the start, not the life; Close ends it.
func Start(ctx context.Context, k Kind) (s *Server, err error) {
	dir, err := os.MkdirTemp("", "holdfast-"+string(k)+"-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	s = &Server{Kind: k, Root: store.Credentials{AccessKeyID: "root-" + string(k), SecretAccessKey: "root-secret-" + string(k)}}
	spec, err := s.spec(ctx, dir)
	if err != nil {
		return nil, err
	}
	if s.proc, err = startProcess(ctx, spec); err != nil {
		return nil, err
	}
	s.Direct = "http://" + spec.addr
	s.direct = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, WriteBufferSize: 64 << 10}
	if s.proxy, err = newProxy(s.Direct, nil); err != nil {
		return nil, errors.Join(err, s.proc.stop())
	}
	s.Endpoint = s.proxy.url
	s.cleanup = func() error {
		s.direct.CloseIdleConnections()
		return errors.Join(s.proxy.close(), s.proc.stop(), os.RemoveAll(dir))
	}
	return s, nil
}

// spec says how the server's process is run in dir.
func (s *Server) spec(ctx context.Context, dir string) (processSpec, error) {
	bin, err := Binary(ctx, string(s.Kind))
	if err != nil {
		return processSpec{}, err
	}
	addr, err := freeAddr()
	if err != nil {
		return processSpec{}, err
	}
	p := processSpec{bin: bin, addr: addr, dir: dir, log: filepath.Join(dir, "log"), ready: "/"}
	switch s.Kind {
	case KindVersityGW:
		return p, s.versitygw(&p, dir)
	case KindMinIO:
		s.users = minioUsers{dir: dir}
		p.env = []string{"MINIO_ROOT_USER=" + s.Root.AccessKeyID, "MINIO_ROOT_PASSWORD=" + s.Root.SecretAccessKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off"}
		p.args = []string{"server", "--quiet", "--address", addr, filepath.Join(dir, "data")}
		p.ready = "/minio/health/ready"
	case KindGoFakeS3:
		p.args = []string{"-backend", "memory", "-host", addr}
	default:
		return p, fmt.Errorf("no server of kind %q", s.Kind)
	}
	return p, nil
}

func (s *Server) versitygw(p *processSpec, dir string) error {
	admin, err := freeAddr()
	if err != nil {
		return err
	}
	// Absolute paths: it changes directory to its root.
	data, versions, iam := filepath.Join(dir, "data"), filepath.Join(dir, "versions"), filepath.Join(dir, "iam")
	for _, d := range []string{data, versions, iam} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	s.users = &versityUsers{bin: p.bin, admin: "http://" + admin, policies: make(map[string][]statement)}
	p.env = []string{"ROOT_ACCESS_KEY=" + s.Root.AccessKeyID, "ROOT_SECRET_KEY=" + s.Root.SecretAccessKey}
	p.args = []string{
		"--port", p.addr, "--admin-port", admin, "--iam-dir", iam, "--keep-alive", "--quiet", "--health", "/healthz",
		"posix", "--versioning-dir", versions, data,
	}
	p.ready = "/healthz"
	return nil
}

// Close stops the server and removes its data.
func (s *Server) Close() error {
	if s.cleanup == nil {
		return nil
	}
	return s.cleanup()
}

// Kill ends the server's process at once, as a crash would. The proxy stays and answers 502.
func (s *Server) Kill() error { return s.proc.stop() }

// Restart starts the killed server again on its old port and data.
func (s *Server) Restart(ctx context.Context) error { return s.proc.start(ctx) }

// Log gives the requests recorded so far, oldest first.
func (s *Server) Log() []Request { return s.proxy.requests() }

// ResetLog forgets them.
func (s *Server) ResetLog() { s.proxy.reset() }

// Admin is the root user's client, through the proxy's back: its requests are not recorded.
func (s *Server) Admin() *minio.Client {
	c, err := minio.New(s.Direct[len("http://"):], &minio.Options{
		Creds:        credentials.NewStaticV4(s.Root.AccessKeyID, s.Root.SecretAccessKey, ""),
		Region:       Region,
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   3,
		Transport:    s.direct,
	})
	if err != nil {
		panic(err) // only for an endpoint that this package has not made
	}
	return c
}

// Location is where bucket is, for s3store.Options and for configurations.
func (s *Server) Location(bucket string) s3url.Location {
	return s3url.Location{Bucket: bucket, Endpoint: s.Endpoint, Region: Region, PathStyle: true}
}

// URL is Location as text, with an optional prefix of keys.
func (s *Server) URL(bucket, prefix string) string {
	l := s.Location(bucket)
	l.Prefix = prefix
	return l.String()
}

// Pool starts servers when first asked for and shares them between the tests of one program, as starting one costs time.
// Make one in the test package, and call Run from TestMain.
type Pool struct {
	mu      sync.Mutex
	servers map[Kind]*Server
}

// Run runs the tests and stops what was started. Its result is for os.Exit.
func (p *Pool) Run(m *testing.M) int {
	code := m.Run()
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, s := range p.servers {
		if err := s.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "stop %s: %v\n", k, err)
			code = max(code, 1)
		}
	}
	return code
}

// Get gives the shared server of a kind. Do not Kill it.
func (p *Pool) Get(t testing.TB, k Kind) *Server {
	t.Helper()
	built(t, k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.servers[k]; s != nil {
		return s
	}
	s, err := Start(t.Context(), k)
	if err != nil {
		t.Fatalf("start %s: %v", k, err)
	}
	if p.servers == nil {
		p.servers = make(map[Kind]*Server)
	}
	p.servers[k] = s
	return s
}

// freeAddr finds a port nobody listens on. Somebody may take it before the server does; starting then fails and is tried
// again by nobody: the range is large.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// answers reports whether a server gives any answer, or a good one, at url.
func answers(ctx context.Context, url string, good bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return !good || resp.StatusCode == http.StatusOK
}
