package s3store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

func put(t *testing.T, s *s3store.Store, name string, b []byte, r store.Retention) (store.Ref, error) {
	t.Helper()
	return s.Put(t.Context(), name, bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b), Retention: r})
}

func lockFor(d time.Duration) store.Retention {
	return store.Retention{Mode: store.Compliance, Until: time.Now().UTC().Add(d).Truncate(time.Second)}
}

// TestWriterUnderAWSRules: with exactly the writer's policy, at a server that refuses what AWS refuses, a lock is put,
// read back and extended; and the request log shows that nothing else was sent.
func TestWriterUnderAWSRules(t *testing.T) {
	for _, k := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		for name, defaults := range map[string]time.Duration{"plain": 0, "default retention": 48 * time.Hour} {
			t.Run(string(k)+" "+name, func(t *testing.T) {
				backend := shared.Get(t, k)
				srv := servers.Strict(t, backend)
				bucket := srv.NewBucket(t, servers.BucketOptions{Lock: true, DefaultRetention: defaults})
				s := open(t, srv.Location(bucket), srv.NewUser(t, servers.WriterPolicy(bucket)))
				f, err := s.Inspect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !f.Immutable || (f.Default.Mode == store.Compliance) != (defaults > 0) || f.Offset.Abs() > 3*time.Second {
					t.Errorf("facts %+v", f)
				}
				if want := f.Clock.Add(defaults); defaults > 0 && !f.Default.Until.Equal(want) {
					t.Errorf("default retention until %v; want %v", f.Default.Until, want)
				}
				ref, err := put(t, s, "packs/ab/x.age", []byte("sealed"), lockFor(72*time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Extend(t.Context(), ref, lockFor(96*time.Hour)); err != nil {
					t.Fatal(err)
				}
				if _, lock, err := s.Stat(t.Context(), ref); err != nil || !lock.Covers(lockFor(95*time.Hour)) {
					t.Errorf("read back %+v, %v", lock, err)
				}
				if _, err := put(t, s, "no/lock/asked", []byte("x"), store.Retention{}); err != nil {
					t.Error(err)
				}
				for _, err := range s.Versions(t.Context(), "", "") {
					if err != nil {
						t.Error(err)
					}
				}
				onlyHarmless(t, srv.Log())
			})
		}
	}
}

func onlyHarmless(t *testing.T, log []servers.Request) {
	t.Helper()
	if len(log) == 0 {
		t.Error("nothing was recorded")
	}
	for _, r := range log {
		onBucket := strings.Count(strings.Trim(r.Path, "/"), "/") == 0
		if r.Method == http.MethodDelete || r.Method == http.MethodPost || onBucket && r.Method == http.MethodPut || strings.Contains(r.Query, "uploads") {
			t.Errorf("%s %s?%s was sent", r.Method, r.Path, r.Query)
		}
		for h := range r.Header {
			if strings.Contains(strings.ToLower(h), "bypass") {
				t.Errorf("header %s was sent", h)
			}
		}
		if r.Status >= 400 && r.Status != http.StatusNotFound {
			t.Errorf("%s %s?%s was answered with %d", r.Method, r.Path, r.Query, r.Status)
		}
	}
}

// TestOnePut: whatever the size, one request, whole hash in the header, and the body not signed in chunks.
func TestOnePut(t *testing.T) {
	srv := shared.Get(t, servers.KindVersityGW)
	bucket := srv.NewBucket(t, servers.BucketOptions{Lock: true})
	strict := servers.Strict(t, srv)
	s := open(t, strict.Location(bucket), srv.Root)
	if _, err := put(t, s, "big", make([]byte, 40<<20), lockFor(time.Hour)); err != nil {
		t.Fatal(err)
	}
	log := strict.Log()
	if len(log) != 1 {
		t.Fatalf("%d requests; want 1", len(log))
	}
	h := log[0].Header
	if log[0].Length != 40<<20 || len(h.Get("X-Amz-Content-Sha256")) != 64 || h.Get("X-Amz-Checksum-Sha256") == "" ||
		h.Get("X-Amz-Trailer") != "" || h.Get("X-Amz-Object-Lock-Mode") != "COMPLIANCE" {
		t.Errorf("sent with %d bytes and %v", log[0].Length, h)
	}
}

// TestGoFakeS3: a server that takes lock headers, keeps them like any other header and gives them back at a HEAD, but
// knows no lock, is found out by Inspect, and by an Extend that is not there when it is read back.
func TestGoFakeS3(t *testing.T) {
	srv := shared.Get(t, servers.KindGoFakeS3)
	c := srv.Admin()
	if err := c.MakeBucket(t.Context(), "lockless", minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.EnableVersioning(t.Context(), "lockless"); err != nil {
		t.Fatal(err)
	}
	s := open(t, srv.Location("lockless"), srv.Root)
	if f, err := s.Inspect(t.Context()); err != nil || f.Immutable || f.ObjectLock || !f.Versioning {
		t.Errorf("facts %+v, %v; want versions and no lock", f, err)
	}
	ref, err := put(t, s, "a/b", []byte("x"), lockFor(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	longer := lockFor(2 * time.Hour)
	if err := s.Extend(t.Context(), ref, longer); err != nil {
		return // an honest refusal is as good
	}
	if _, lock, err := s.Stat(t.Context(), ref); err != nil || lock.Covers(longer) {
		t.Errorf("after Extend: %+v, %v; want that it did not take", lock, err)
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Errorf("gofakes3 protects a lock: %v", err)
	}
}

func TestBucketWithoutLock(t *testing.T) {
	for _, k := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		for _, versioning := range []bool{false, true} {
			srv := shared.Get(t, k)
			bucket := srv.NewBucket(t, servers.BucketOptions{Versioning: versioning})
			s := open(t, srv.Location(bucket), srv.Root)
			f, err := s.Inspect(t.Context())
			if err != nil || f.Immutable || f.ObjectLock || f.Versioning != versioning {
				t.Errorf("%s: %+v, %v; versioning is %t", k, f, err, versioning)
			}
			if ref, err := put(t, s, "x", []byte("x"), lockFor(time.Hour)); err == nil {
				t.Errorf("%s: a lock was taken without object lock", k)
			} else if !errors.Is(err, store.ErrNoLock) {
				t.Errorf("%s: %v; want that the vault keeps no locks", k, err)
			} else if ref.Version != "" {
				t.Errorf("%s: a version in spite of the error", k)
			}
			ref, err := put(t, s, "y", []byte("y"), store.Retention{})
			if err != nil {
				t.Fatal(err)
			}
			if _, lock, err := s.Stat(t.Context(), ref); err != nil || lock != (store.Retention{}) {
				t.Errorf("%s: stat: %+v, %v", k, lock, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, k := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		t.Run(string(k), func(t *testing.T) {
			srv, b, prefix := shared.locked(t, k)
			l := srv.Location(b.name)
			l.Prefix = prefix
			good := open(t, l, b.writer)
			ref, err := put(t, good, "kept", []byte("x"), lockFor(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if err := good.Remove(t.Context(), ref); !errors.Is(err, store.ErrDenied) && !errors.Is(err, store.ErrLocked) {
				t.Errorf("the writer removes: %v; want denied", err)
			}
			for what, c := range map[string]store.Credentials{
				"unknown key":  {AccessKeyID: "nobody0000", SecretAccessKey: "sssssssssecret"},
				"wrong secret": {AccessKeyID: b.writer.AccessKeyID, SecretAccessKey: "sssssssssecret"},
			} {
				s := open(t, l, c)
				_, err := put(t, s, "x", []byte("x"), store.Retention{})
				_, ierr := s.Inspect(t.Context())
				for _, err := range []error{err, ierr} {
					if !errors.Is(err, store.ErrCredentials) || store.Retryable(err) {
						t.Errorf("%s: %v; want credentials not accepted", what, err)
					}
					if err != nil && strings.Contains(err.Error(), "ssssss") {
						t.Errorf("%s: the secret is in the error: %v", what, err)
					}
				}
			}
			l.Bucket = "no-such-bucket-here"
			_, err = open(t, l, srv.Root).Inspect(t.Context())
			if !errors.Is(err, store.ErrNoBucket) {
				t.Errorf("%v; want no such bucket", err)
			}
		})
	}
}

func TestCredentialsFunc(t *testing.T) {
	srv, b, prefix := shared.locked(t, servers.KindVersityGW)
	l := srv.Location(b.name)
	l.Prefix = prefix
	calls := 0
	expiring := func(context.Context) (store.Credentials, error) {
		calls++
		c := b.writer
		c.Expires = time.Now().Add(time.Minute) // within the time before the end at which they are asked for anew
		return c, nil
	}
	s, err := s3store.New(s3store.Options{Location: l, Credentials: expiring})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		if _, err := put(t, s, "x", []byte("x"), store.Retention{}); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 3 {
		t.Errorf("%d calls for expiring credentials; want 3", calls)
	}
	for what, get := range map[string]store.CredentialsFunc{
		"failing": func(context.Context) (store.Credentials, error) {
			return store.Credentials{}, errors.New("no such profile")
		},
		"empty": fixed.Credentials(store.Credentials{}),
	} {
		s, err := s3store.New(s3store.Options{Location: l, Credentials: get})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := put(t, s, "x", []byte("x"), store.Retention{}); !errors.Is(err, store.ErrCredentials) {
			t.Errorf("%s credentials: %v", what, err)
		}
	}
	if _, err := s3store.New(s3store.Options{Location: l}); err == nil {
		t.Error("no credentials at all were taken")
	}
}
