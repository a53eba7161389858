package tobucket_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// leftovers names everything in a bucket, versions and delete markers too, that a restore did not have to make.
func leftovers(t *testing.T, s *servers.Server, bucket string) []string {
	t.Helper()
	var out []string
	for o := range s.Admin().ListObjects(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		must(t, o.Err)
		if strings.Contains(o.Key, "probe") {
			out = append(out, o.Key)
		}
	}
	return out
}

func uploads(t *testing.T, s *servers.Server, bucket string) (out []string) {
	t.Helper()
	for u := range s.Admin().ListIncompleteUploads(t.Context(), bucket, "", true) {
		must(t, u.Err)
		out = append(out, u.Key)
	}
	return out
}

// Whatever is tried out at the target leaves nothing behind, be it a version or a delete marker; where it could not be
// removed nothing is made.
func TestTriesLeaveNothing(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		odd := []string{"/lead", "a//b", "./x", "y/../z"}
		r := restoretest.New(t)
		src := memsource.New(memsource.Options{})
		for _, k := range append(odd, "a/b", "lead", "x", "z") {
			src.Put(k, []byte("of "+k))
		}
		c := r.Backup(src)
		for _, where := range []struct {
			name             string
			versions, locked bool
			rights           []string
		}{
			{name: "plain"},
			{name: "versions", versions: true},
			{name: "no right to delete", rights: []string{"PutObject", "GetObject", "GetObjectTagging", "PutObjectTagging"}},
			{name: "versions, no right to delete", versions: true, rights: []string{"PutObject", "GetObject", "GetObjectVersion", "GetObjectTagging", "PutObjectTagging"}},
			{name: "versions, right to set delete markers only", versions: true, rights: []string{"PutObject", "GetObject", "GetObjectVersion", "DeleteObject"}},
			{name: "locks by default", versions: true, locked: true},
		} {
			name := ""
			if where.locked {
				b, err := s.MakeBucket(t.Context(), servers.BucketOptions{Lock: true})
				must(t, err)
				name = b
				mode, days, unit := minio.Governance, uint(1), minio.Days
				must(t, s.Admin().SetObjectLockConfig(t.Context(), name, &mode, &days, &unit))
			} else {
				name = bucket(t, s, where.versions)
			}
			creds := s.Root
			if where.rights != nil {
				p, err := servers.ParsePolicy(`{"Statement":[
					{"Effect":"Allow","Action":["s3:ListBucket","s3:ListBucketVersions","s3:GetBucketVersioning","s3:GetBucketLocation","s3:GetBucketObjectLockConfiguration"],"Resource":["arn:aws:s3:::` + name + `"]},
					{"Effect":"Allow","Action":["s3:` + strings.Join(where.rights, `","s3:`) + `"],"Resource":["arn:aws:s3:::` + name + `/*"]}]}`)
				must(t, err)
				creds = s.NewUser(t, p)
			}
			for again := range 2 {
				s.ResetLog()
				target, err := tobucket.New(tobucket.Options{Bucket: name, Endpoint: s.Endpoint, Region: servers.Region, PathStyle: true, Credentials: fixed.Credentials(creds)})
				must(t, err)
				res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: target})
				for _, f := range res.Failures {
					if !errors.Is(f, restore.ErrRefused) || !slices.Contains(odd, f.Key) {
						t.Errorf("%s, run %d: %v", where.name, again, f)
					}
				}
				for _, k := range []string{"a/b", "lead", "x", "z"} {
					if b := get(t, s, name, k, ""); string(b) != "of "+k {
						t.Errorf("%s: %q holds %q", where.name, k, b)
					}
				}
				if where.rights != nil && !slices.Contains(where.rights, "DeleteObject") || where.locked {
					for _, q := range s.Log() {
						if q.Method == http.MethodPut && strings.Contains(q.Path, "probe") {
							t.Errorf("%s: %s %s", where.name, q.Method, q.Path)
						}
					}
				}
			}
			if left := leftovers(t, s, name); len(left) > 0 {
				t.Errorf("%s: left %q", where.name, left)
			}
			if left := uploads(t, s, name); len(left) > 0 {
				t.Errorf("%s: uploads of %q left", where.name, left)
			}
		}
	})
}

// A bucket that locks what is put takes a restore, large objects too, and versions end as the point has them.
func TestBucketsThatLock(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		name, err := s.MakeBucket(t.Context(), servers.BucketOptions{Lock: true})
		must(t, err)
		mode, days, unit := minio.Governance, uint(1), minio.Days
		must(t, s.Admin().SetObjectLockConfig(t.Context(), name, &mode, &days, &unit))
		p := point(t, map[string]int{"small": 10, "large": large}, nil)
		for _, o := range []restore.Overwrite{restore.Never, restore.Changed, restore.Never} {
			res := run(t, restore.Options{Reader: p.Reader(nil), Commit: p.Commit, Target: into(t, s, name), Overwrite: o})
			if res.Failed+res.Differs > 0 || o == restore.Changed && res.Entries > 0 {
				t.Errorf("%s: %+v", o, res)
			}
		}
	})
}
