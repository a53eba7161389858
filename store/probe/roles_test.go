package probe_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// TestRoles: with its printed policy each role can do its work, and not another's, and nothing outside its prefix.
func TestRoles(t *testing.T) {
	for _, k := range both {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			at := siteOf(t, k)
			srv, prefix := shared.Get(t, k), "prod-"+string(k)
			inside, outside := open(t, srv, at.bucket, prefix, at.user), open(t, srv, at.bucket, "other", at.user)
			become := func(r vendor.Role) { srv.Allow(t, at.user, printed(t, k, r, at.bucket, prefix)) }
			can := func(want bool, what string, r vendor.Role, err error) {
				t.Helper()
				if (err == nil) != want || err != nil && !errors.Is(err, store.ErrDenied) && !errors.Is(err, store.ErrLocked) {
					t.Errorf("%s: %s: %v; allowed is %t", r, what, err, want)
				}
			}
			until := time.Now().Add(20 * time.Second).UTC().Truncate(time.Second) // all of what follows, on a slow machine
			become(vendor.VaultWriter)
			ref, err := put(t, inside, "packs/x.age", until)
			if err != nil {
				t.Fatal(err)
			}
			brief, err := put(t, inside, "packs/brief.age", time.Now().Add(2*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []vendor.Role{vendor.VaultWriter, vendor.VaultReader, vendor.Auditor, vendor.Renewer, vendor.Remover} {
				become(r)
				can(true, "read", r, read(t, inside, ref))
				can(true, "list", r, list(t, inside))
				_, lock, err := inside.Stat(t.Context(), ref)
				can(true, "read the lock", r, err)
				if !lock.Until.Equal(until) {
					t.Errorf("%s reads %s", r, lock.Until)
				}
				_, err = put(t, inside, "packs/"+string(r)+".age", time.Now().Add(time.Minute))
				can(r == vendor.VaultWriter, "put", r, err)
				_, err = put(t, inside, "reports/web-1/0-"+string(r)+".json", time.Now().Add(time.Minute))
				can(r == vendor.VaultWriter || r == vendor.Auditor, "put a record", r, err)
				_, err = put(t, outside, "packs/x.age", time.Now().Add(time.Minute))
				can(false, "put outside its prefix", r, err)
				for _, folder := range []string{"points/site", "points", "packs/ab", "placements/offsite", "reports/web-1", "canary/0a", "x"} {
					_, err = put(t, inside, folder, time.Now().Add(time.Minute))
					can(false, "put "+folder+", the name of a folder", r, err)
				}
				if k == servers.KindMinIO { // where a listing can be bound to a prefix
					can(false, "list outside its prefix", r, list(t, outside))
				}
				if r != vendor.VaultReader {
					_, err := inside.Inspect(t.Context())
					can(true, "inspect", r, err)
				}
				can(false, "remove what is locked", r, inside.Remove(t.Context(), ref))
				longer := until.Add(time.Second)
				err = inside.Extend(t.Context(), ref, store.Retention{Mode: store.Compliance, Until: longer})
				can(r == vendor.VaultWriter || r == vendor.Renewer, "lengthen", r, err)
				if err == nil {
					until = longer
				}
			}
			if err := srv.Admin().RemoveObject(t.Context(), at.bucket, prefix+"/packs/brief.age", minio.RemoveObjectOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, lock, err := inside.Stat(t.Context(), brief); err == nil {
				time.Sleep(time.Until(lock.Until) + 1500*time.Millisecond)
			}
			for info, err := range inside.Versions(t.Context(), "packs/brief.age", "") {
				if err != nil {
					t.Fatal(err)
				}
				can(true, "remove what is no longer locked, and a marker", vendor.Remover, inside.Remove(t.Context(), info.Ref))
			}
			for info := range inside.Versions(t.Context(), "packs/brief.age", "") {
				t.Errorf("left: %+v", info)
			}
		})
	}
}

func open(t testing.TB, srv *servers.Server, bucket, prefix string, c store.Credentials) *s3store.Store {
	t.Helper()
	l := srv.Location(bucket)
	l.Prefix = prefix
	s, err := s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(c)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t testing.TB, s *s3store.Store, name string, until time.Time) (store.Ref, error) {
	t.Helper()
	b := []byte("some bytes")
	return s.Put(t.Context(), name, bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b), Retention: store.Retention{Mode: store.Compliance, Until: until}})
}

func read(t testing.TB, s *s3store.Store, ref store.Ref) error {
	t.Helper()
	r, err := s.Open(t.Context(), ref, 0, -1)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

func list(t testing.TB, s *s3store.Store) error {
	t.Helper()
	for _, err := range s.Versions(t.Context(), "", "") {
		return err
	}
	return nil
}

// TestBoundOnLocks: what the profiles say of bounds on locks is so.
func TestBoundOnLocks(t *testing.T) {
	for _, k := range both {
		at := siteOf(t, k)
		srv, bucket := shared.Get(t, k), at.bucket
		minioProfile, err := vendor.Get("minio")
		if err != nil {
			t.Fatal(err)
		}
		doc, err := vendor.PolicyFor(minioProfile, vendor.VaultWriter, vendor.PolicyOptions{Bucket: bucket, Prefix: "bound", MaxDays: 1})
		if err != nil {
			t.Fatal(err)
		}
		policy, err := servers.ParsePolicy(doc.Text)
		if err != nil || !strings.Contains(doc.Text, "remaining-retention-days") {
			t.Fatal(err, doc.Text)
		}
		if err := srv.SetPolicy(t.Context(), at.user, policy); err != nil {
			if p, perr := vendor.Get(string(k)); perr != nil || p.Lock.Cap.Value != vendor.CapNone {
				t.Errorf("%s: %v", k, err)
			}
			srv.Allow(t, at.user, printed(t, k, vendor.VaultWriter, bucket, "bound"))
			continue // it does not take a policy with a condition
		}
		s := open(t, srv, bucket, "bound", at.user)
		day := store.Retention{Mode: store.Compliance, Until: time.Now().Add(20 * time.Hour)}
		ref, err := put(t, s, "packs/x.age", time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Extend(t.Context(), ref, day); err != nil {
			t.Errorf("%s: within the bound: %v", k, err)
		}
		day.Until = day.Until.AddDate(0, 0, 3)
		extend := s.Extend(t.Context(), ref, day)
		_, putErr := put(t, s, "packs/y.age", day.Until)
		got := vendor.CapNone
		switch {
		case extend != nil && putErr != nil:
			got = vendor.CapAll
		case extend != nil:
			got = vendor.CapExtend
		}
		if p, err := vendor.Get(string(k)); err != nil || p.Lock.Cap.Value != got {
			t.Errorf("%s: the bound is %q (%v, %v); the profile says %q", k, got, extend, putErr, p.Lock.Cap.Value)
		}
	}
}
