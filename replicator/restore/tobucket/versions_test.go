package tobucket_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

const marker = "marker"

// versionsAt gives the ETags of a key's versions, the oldest first.
func versionsAt(t *testing.T, s *servers.Server, bucket, key string) []string {
	t.Helper()
	type version struct{ id, what string }
	var all []version
	seen := map[string]bool{}
	for o := range s.Admin().ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: key, WithVersions: true, Recursive: true}) {
		must(t, o.Err)
		if o.Key != key || seen[o.VersionID] {
			continue
		}
		seen[o.VersionID] = true
		v := version{o.VersionID, strings.Trim(o.ETag, `"`)}
		if o.IsDeleteMarker {
			v.what = marker
		}
		all = append(all, v)
	}
	if s.Kind == servers.KindVersityGW { // lists markers apart; its IDs sort by time
		slices.SortFunc(all, func(a, b version) int { return strings.Compare(b.id, a.id) })
	}
	slices.Reverse(all)
	var out []string
	for _, v := range all {
		out = append(out, v.what)
	}
	return out
}

// play is a source whose one key gets versions; every seventh is a delete marker.
type play struct {
	src  *memsource.Source
	want []string
}

func (p *play) to(n int) {
	for i := len(p.want); i < n; i++ {
		if i%7 == 4 {
			p.src.Delete("k")
			p.want = append(p.want, marker)
			continue
		}
		body := fmt.Appendf(nil, "version %06d", i)
		p.src.Put("k", body)
		p.want = append(p.want, fmt.Sprintf("%x", md5.Sum(body)))
	}
}

func eachServer(t *testing.T, f func(t *testing.T, s *servers.Server)) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) { f(t, pool.Get(t, kind)) })
	}
}

// A restore that ended after so many versions is gone on with, also over several pages of a listing, and says that all is
// there when it is.
func TestVersionsGoOnWhereARestoreEnded(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		r := restoretest.New(t)
		p := &play{src: memsource.New(memsource.Options{AllVersions: true})}
		name := bucket(t, s, true)
		had := 0
		for _, n := range []int{2, 1030, 1040} {
			p.to(n)
			c := r.Backup(p.src)
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name)})
			if res.Entries != int64(n-had) || res.Skipped != int64(had) || res.Failed+res.Differs != 0 {
				t.Fatalf("%d versions after %d: %+v", n, had, res)
			}
			had = n
			if got := versionsAt(t, s, name, "k"); !slices.Equal(got, p.want) {
				t.Fatalf("%d versions, want %d in order", len(got), n)
			}
		}
		for _, o := range []restore.Overwrite{restore.Never, restore.Changed} {
			c := r.Backup(p.src)
			if res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name), Overwrite: o}); res.Skipped != int64(had) || res.Differs != 0 {
				t.Errorf("%s: %+v", o, res)
			}
		}
	})
}

// What is at a versioned target already, in whatever state, ends as the point has it: its versions in order, the last on top.
func TestVersionsAmongOthers(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		r := restoretest.New(t)
		p := &play{src: memsource.New(memsource.Options{AllVersions: true})}
		p.to(4)
		c := r.Backup(p.src)
		w := p.want
		other := fmt.Sprintf("%x", md5.Sum([]byte("another thing.")))
		put := func(name, what string) {
			t.Helper()
			switch i := slices.Index(w, what); {
			case what == marker:
				must(t, s.Admin().RemoveObject(t.Context(), name, "k", minio.RemoveObjectOptions{}))
			case i < 0:
				_, err := s.Admin().PutObject(t.Context(), name, "k", strings.NewReader("another thing."), 14, minio.PutObjectOptions{})
				must(t, err)
			default:
				body := fmt.Appendf(nil, "version %06d", i)
				_, err := s.Admin().PutObject(t.Context(), name, "k", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{ContentType: "application/octet-stream"})
				must(t, err)
			}
		}
		for _, c2 := range []struct {
			name          string
			there         []string
			changed       []string // what is put by changed
			never         []string // and by never
			neverComplain bool
		}{
			{"the first two", w[:2], w[2:], w[2:], false},
			{"all", w, nil, nil, false},
			{"something else", []string{other}, w, nil, true},
			{"something else below", []string{other, w[0], w[1], w[2], w[3]}, nil, nil, false},
			{"something else on top", []string{w[0], w[1], w[2], w[3], other}, w[3:], nil, true},
			{"something else between", []string{w[0], other, w[1], w[2], w[3]}, nil, nil, false},
			{"a gap", []string{w[0], w[2], w[3]}, w[1:], nil, true},
			{"only the last", w[3:], w, nil, true},
			{"deleted on top", []string{w[0], w[1], w[2], w[3], marker}, w[3:], w[3:], false},
			{"something else and deleted", []string{other, marker}, w, w, false},
		} {
			for _, o := range []restore.Overwrite{restore.Changed, restore.Never} {
				name := bucket(t, s, true)
				for _, what := range c2.there {
					put(name, what)
				}
				want, complain := c2.changed, false
				if o == restore.Never {
					want, complain = c2.never, c2.neverComplain
				}
				for again := range 2 {
					res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name), Overwrite: o})
					if complain != (res.Differs == 1) || res.Failed > 0 || again == 0 && res.Entries != int64(len(want)) || again == 1 && res.Entries != 0 {
						t.Errorf("%s, %s, run %d: %+v", c2.name, o, again, res)
					}
					if got := versionsAt(t, s, name, "k"); !slices.Equal(got, append(slices.Clone(c2.there), want...)) {
						t.Errorf("%s, %s, run %d: %q", c2.name, o, again, got)
					}
				}
			}
		}
	})
}

// Under a prefix, beside keys that begin like it, in keys that begin like others: each key is itself.
func TestVersionsUnderAPrefix(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		r := restoretest.New(t)
		src := memsource.New(memsource.Options{AllVersions: true})
		keys := []string{"k", "k.txt", "kk", "z"}
		for i := range 3 {
			for _, k := range keys {
				src.Put(k, fmt.Appendf(nil, "%s %d", k, i))
			}
		}
		src.Delete("kk")
		c := r.Backup(src)
		name := bucket(t, s, true)
		other := func(key string) {
			_, err := s.Admin().PutObject(t.Context(), name, key, strings.NewReader("other"), 5, minio.PutObjectOptions{})
			must(t, err)
		}
		for _, k := range []string{"a", "into", "in/a", "in/kkk", "zz"} {
			other(k)
		}
		for n, o := range []restore.Overwrite{restore.Never, restore.Changed, restore.Never} {
			to, err := tobucket.New(tobucket.Options{
				Bucket: name, Prefix: "in/", Endpoint: s.Endpoint, Region: servers.Region, PathStyle: true, Credentials: fixed.Credentials(s.Root),
			})
			must(t, err)
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: to, Overwrite: o})
			if res.Failed+res.Differs > 0 || n == 0 && res.Entries != c.Entries || n > 0 && res.Skipped != c.Entries {
				t.Errorf("%s: %+v", o, res)
			}
		}
		for _, k := range keys {
			var want []string
			for i := range 3 {
				want = append(want, fmt.Sprintf("%x", md5.Sum(fmt.Appendf(nil, "%s %d", k, i))))
			}
			if k == "kk" {
				want = append(want, marker)
			}
			if got := versionsAt(t, s, name, "in/"+k); !slices.Equal(got, want) {
				t.Errorf("%s: %q", k, got)
			}
		}
		for _, k := range []string{"a", "into", "in/a", "in/kkk", "zz"} {
			if got := versionsAt(t, s, name, k); len(got) != 1 {
				t.Errorf("%s has %d versions", k, len(got))
			}
		}
	})
}

// Delete markers on nothing and on others, which some servers do not keep, neither fail nor make a second run put anything.
func TestMarkersOnMarkers(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		r := restoretest.New(t)
		v := func(i int) *format.Entry {
			e := restoretest.Object("k", nil)
			e.Version = fmt.Sprint(i)
			return e
		}
		m := func(i int) *format.Entry {
			e := v(i)
			e.Kind, e.SHA256 = format.KindMarker, format.Hash{}
			return e
		}
		c := r.Point(64, m(0), m(1), v(2), m(3), m(4), v(5), m(6), m(7))
		name := bucket(t, s, true)
		for n, o := range []restore.Overwrite{restore.Never, restore.Changed, restore.Never} {
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name), Overwrite: o})
			if res.Failed+res.Differs > 0 || n > 0 && res.Entries != 0 {
				t.Errorf("%s: %+v", o, res)
			}
			if n == 0 && s.Kind == servers.KindMinIO && !strings.Contains(strings.Join(res.Notes, ""), "delete marker") {
				t.Errorf("notes: %q", res.Notes)
			}
		}
		got := slices.Compact(versionsAt(t, s, name, "k"))
		if got[0] == marker {
			got = got[1:]
		}
		empty := fmt.Sprintf("%x", md5.Sum(nil))
		if !slices.Equal(got, []string{empty, marker, empty, marker}) {
			t.Errorf("%q", got)
		}
	})
}
