package servers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// Policy is what a user may do, as IAM-style statements.
type Policy []statement

type statement struct {
	Sid       string              `json:"Sid,omitempty"`
	Effect    string              `json:"Effect"`
	Principal map[string][]string `json:"Principal,omitempty"`
	Action    []string            `json:"Action"`
	Resource  []string            `json:"Resource"`
	Condition json.RawMessage     `json:"Condition,omitempty"`
}

// ParsePolicy reads an IAM document, strictly. A principal in it is left out: whoever is made with the policy is it.
func ParsePolicy(text string) (Policy, error) {
	var doc struct {
		Version   string
		Statement Policy
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	for i := range doc.Statement {
		doc.Statement[i].Principal = nil
	}
	return doc.Statement, nil
}

// Allowing is p and a statement more: the actions, such as "DeleteObject", on the bucket and on all objects in it.
func (p Policy) Allowing(bucket string, onBucket, onObjects []string) Policy {
	for _, st := range allow(bucket, onBucket, onObjects) {
		if len(st.Action) > 0 {
			p = append(p[:len(p):len(p)], st)
		}
	}
	return p
}

// Without is p without the actions.
func (p Policy) Without(actions ...string) Policy {
	var out Policy
	for _, st := range p {
		st.Action = slices.DeleteFunc(slices.Clone(st.Action), func(a string) bool { return slices.Contains(s3(actions), a) })
		if len(st.Action) > 0 {
			out = append(out, st)
		}
	}
	return out
}

// JSON is the policy as an IAM document, without a principal.
func (p Policy) JSON() string { return document(p) }

// document is compact: versitygw keeps a bucket's policy in an extended attribute, which has 4 KiB at most on ext4.
func document(s []statement) string {
	b, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", s})
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	return string(b)
}

func allow(bucket string, onBucket, onObjects []string) Policy {
	arn := "arn:aws:s3:::" + bucket
	return Policy{
		{Effect: "Allow", Action: s3(onBucket), Resource: []string{arn}},
		{Effect: "Allow", Action: s3(onObjects), Resource: []string{arn + "/*"}},
	}
}

func s3(actions []string) []string {
	out := make([]string, len(actions))
	for i, a := range actions {
		out[i] = "s3:" + a
	}
	return out
}

// WriterPolicy is what a vault's writer needs and may have at most: it cannot delete, bypass or reconfigure.
func WriterPolicy(bucket string) Policy {
	return allow(bucket,
		[]string{"ListBucket", "ListBucketVersions", "GetBucketObjectLockConfiguration", "GetBucketVersioning", "GetBucketLocation"},
		[]string{"PutObject", "PutObjectRetention", "GetObject", "GetObjectVersion", "GetObjectRetention", "GetObjectLegalHold"})
}

// ReaderPolicy is what restores and checks from a vault need.
func ReaderPolicy(bucket string) Policy {
	return allow(bucket,
		[]string{"ListBucket", "ListBucketVersions"},
		[]string{"GetObject", "GetObjectVersion", "GetObjectRetention"})
}

// SourceReaderPolicy is what reading a source bucket needs.
func SourceReaderPolicy(bucket string) Policy {
	return allow(bucket,
		[]string{"ListBucket", "ListBucketVersions", "GetBucketVersioning", "GetBucketLocation"},
		[]string{"GetObject", "GetObjectVersion", "GetObjectTagging", "GetObjectVersionTagging", "GetObjectAttributes", "GetObjectVersionAttributes"})
}

// RemoverPolicy is what prune needs: deleting versions, and nothing that would override a lock.
func RemoverPolicy(bucket string) Policy {
	return allow(bucket,
		[]string{"ListBucket", "ListBucketVersions"},
		[]string{"GetObject", "GetObjectVersion", "GetObjectRetention", "DeleteObject", "DeleteObjectVersion"})
}

// AdminEndpoint is where a versitygw is told of users; empty for the others.
func (s *Server) AdminEndpoint() string {
	if v, ok := s.users.(*versityUsers); ok {
		return v.admin
	}
	return ""
}

// NewUser makes a user who may do what p says and nothing else.
func (s *Server) NewUser(t testing.TB, p Policy) store.Credentials {
	t.Helper()
	c, err := s.MakeUser(t.Context(), p)
	if err != nil {
		t.Fatalf("make a user on %s: %v", s.Kind, err)
	}
	return c
}

// MakeUser is NewUser outside tests.
func (s *Server) MakeUser(ctx context.Context, p Policy) (store.Credentials, error) {
	if s.users == nil {
		return s.Root, nil // gofakes3 checks no signature
	}
	return s.users.newUser(ctx, s, p)
}

// Allow replaces what a user of NewUser may do: p and nothing else.
func (s *Server) Allow(t testing.TB, c store.Credentials, p Policy) {
	t.Helper()
	if err := s.SetPolicy(t.Context(), c, p); err != nil {
		t.Fatalf("change a policy on %s: %v", s.Kind, err)
	}
}

// SetPolicy is Allow outside tests.
func (s *Server) SetPolicy(ctx context.Context, c store.Credentials, p Policy) error {
	if s.users == nil {
		return nil // gofakes3 checks nothing
	}
	return s.users.allow(ctx, s, c, p)
}

// OpenToAll lets anybody, without a credential, do the actions (such as "GetObject") on a bucket and all objects in it.
func (s *Server) OpenToAll(ctx context.Context, bucket string, actions ...string) error {
	all := map[string][]string{"AWS": {"*"}}
	var list []statement
	for _, a := range s3(actions) {
		arn := "arn:aws:s3:::" + bucket
		if strings.Contains(a, "Object") {
			arn += "/*"
		}
		list = append(list, statement{Effect: "Allow", Principal: all, Action: []string{a}, Resource: []string{arn}})
	}
	if v, ok := s.users.(*versityUsers); ok {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.policies[bucket] = append(v.policies[bucket], list...)
		list = v.policies[bucket]
	}
	return s.Admin().SetBucketPolicy(ctx, bucket, document(list))
}

// freshKey gives credentials that nobody has.
func freshKey() store.Credentials {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return store.Credentials{AccessKeyID: "user" + hex.EncodeToString(b[:6]), SecretAccessKey: hex.EncodeToString(b[6:])}
}

// versityUsers makes users through versitygw's admin API and lets them in by bucket policies.
type versityUsers struct {
	bin, admin string

	mu       sync.Mutex
	policies map[string][]statement // by bucket
}

func (v *versityUsers) newUser(ctx context.Context, s *Server, p Policy) (store.Credentials, error) {
	c := freshKey()
	out, err := run(exec.CommandContext(ctx, v.bin, "admin", "-a", s.Root.AccessKeyID, "-s", s.Root.SecretAccessKey, "-er", v.admin,
		"create-user", "--access", c.AccessKeyID, "--secret", c.SecretAccessKey, "--role", "user"))
	if err != nil {
		return c, fmt.Errorf("create-user: %w: %s", err, out)
	}
	return c, v.allow(ctx, s, c, p)
}

func (v *versityUsers) allow(ctx context.Context, s *Server, c store.Credentials, p Policy) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed := make(map[string]bool)
	for bucket, list := range v.policies {
		rest := slices.DeleteFunc(slices.Clone(list), func(st statement) bool { return slices.Equal(st.Principal["AWS"], []string{c.AccessKeyID}) })
		if len(rest) != len(list) {
			v.policies[bucket], changed[bucket] = rest, true
		}
	}
	for _, st := range p {
		for _, r := range st.Resource {
			bucket, _, _ := strings.Cut(strings.TrimPrefix(r, "arn:aws:s3:::"), "/")
			v.policies[bucket] = append(v.policies[bucket], statement{
				Sid: st.Sid, Effect: st.Effect, Principal: map[string][]string{"AWS": {c.AccessKeyID}}, Action: st.Action, Resource: []string{r}, Condition: st.Condition,
			})
			changed[bucket] = true
		}
	}
	for bucket := range changed {
		text := ""
		if len(v.policies[bucket]) > 0 {
			text = document(v.policies[bucket])
		}
		if err := s.Admin().SetBucketPolicy(ctx, bucket, text); err != nil {
			return fmt.Errorf("set the policy of bucket %s: %w", bucket, err)
		}
	}
	return nil
}

// minioUsers makes users and policies with mc.
type minioUsers struct{ dir string }

func (m minioUsers) newUser(ctx context.Context, s *Server, p Policy) (store.Credentials, error) {
	c := freshKey()
	if err := m.mc(ctx, s, "user", "add", "here", c.AccessKeyID, c.SecretAccessKey); err != nil {
		return c, err
	}
	if err := m.allow(ctx, s, c, p); err != nil {
		return c, err
	}
	return c, m.mc(ctx, s, "policy", "attach", "here", c.AccessKeyID, "--user", c.AccessKeyID)
}

// allow writes the policy that bears the user's name.
func (m minioUsers) allow(ctx context.Context, s *Server, c store.Credentials, p Policy) error {
	file := filepath.Join(m.dir, c.AccessKeyID+".json")
	if err := os.WriteFile(file, []byte(p.JSON()), 0o600); err != nil {
		return err
	}
	return m.mc(ctx, s, "policy", "create", "here", c.AccessKeyID, file)
}

func (m minioUsers) mc(ctx context.Context, s *Server, args ...string) error {
	mc, err := Binary(ctx, "mc")
	if err != nil {
		return err
	}
	at, err := url.Parse(s.Direct)
	if err != nil {
		return err
	}
	at.User = url.UserPassword(s.Root.AccessKeyID, s.Root.SecretAccessKey)
	cmd := exec.CommandContext(ctx, mc, append([]string{"--quiet", "--config-dir", filepath.Join(m.dir, "mc"), "admin"}, args...)...)
	cmd.Env = append(os.Environ(), "MC_HOST_here="+at.String())
	if out, err := run(cmd); err != nil {
		return fmt.Errorf("mc admin %s %s: %w: %s", args[0], args[1], err, out)
	}
	return nil
}

func run(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// BucketOptions of NewBucket.
type BucketOptions struct {
	Lock             bool          // object lock, and so versioning
	Versioning       bool          // versioning without lock
	DefaultRetention time.Duration // whole days; needs Lock; compliance mode
}

// NewBucket makes an empty bucket with a fresh name.
func (s *Server) NewBucket(t testing.TB, o BucketOptions) string {
	t.Helper()
	name, err := s.MakeBucket(t.Context(), o)
	if err != nil {
		t.Fatalf("make a bucket on %s: %v", s.Kind, err)
	}
	return name
}

// MakeBucket is NewBucket outside tests.
func (s *Server) MakeBucket(ctx context.Context, o BucketOptions) (string, error) {
	name := "bucket-" + strings.ToLower(freshKey().AccessKeyID)
	c := s.Admin()
	for try := 0; ; try++ {
		err := c.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: Region, ObjectLocking: o.Lock})
		if err == nil {
			break
		}
		// MinIO calls itself ready a moment before it is.
		if minio.ToErrorResponse(err).Code != "XMinioServerNotInitialized" || try == 50 {
			return "", err
		}
		time.Sleep(100 * time.Millisecond)
	}
	if o.Versioning && !o.Lock {
		if err := c.EnableVersioning(ctx, name); err != nil {
			return "", fmt.Errorf("enable versioning: %w", err)
		}
	}
	if o.DefaultRetention > 0 {
		mode, unit, days := minio.Compliance, minio.Days, uint(o.DefaultRetention/(24*time.Hour))
		if err := c.SetBucketObjectLockConfig(ctx, name, &mode, &days, &unit); err != nil {
			return "", fmt.Errorf("set default retention: %w", err)
		}
	}
	return name, nil
}
