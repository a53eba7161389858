package synthetic

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/minio/crc64nvme"
)

// smallObject is what was put in one part: its ETag is its MD5. A larger one was a multipart upload, whose ETag is none:
// "Objects created by either the Multipart Upload or Part Copy operation have ETags that are not MD5 digests, regardless
// of the method of encryption" (API reference, Object). So no large object has to be made up for a listing.
const smallObject = 64 << 10

const partSize = 8 << 20

// record is a key with what is edited of it, as it was when it was looked up.
type record struct {
	Object
	index    int64 // in the formula; -1: beyond it
	base     int   // versions of the formula
	more     []change
	retagged int
}

// record gives the record of a key that there is. The lock is held.
func (s *Server) record(i int64, key string) record {
	r := record{index: i, base: 1}
	e := s.edits[key]
	if e != nil {
		r.more, r.retagged = e.more, e.retagged // appended to only, so the slice stays as it is
	}
	if i < 0 {
		r.Object = *e.object
		return r
	}
	r.Key = key
	s.o.Describe(i, &r.Object)
	if s.o.Versions != nil {
		r.base = max(1, s.o.Versions(i))
	}
	return r
}

// describe is the default formula.
func describe(i int64, o *Object) {
	o.Size = i % 8
	o.Modified = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i%10_000_000) * time.Second)
	o.Headers = plainText
	if i%5 == 0 {
		o.Headers = richHeaders
		o.Metadata = map[string]string{"origin": "a formula", "serial": strconv.FormatInt(i, 10)}
	}
	if i%100 == 0 {
		o.Tags = map[string]string{"team": "core + tools", "serial": strconv.FormatInt(i, 10)}
	}
}

var (
	plainText   = map[string]string{"Content-Type": "text/plain; charset=utf-8"}
	richHeaders = map[string]string{"Content-Type": "application/json", "Cache-Control": "max-age=60, public", "Content-Language": "en, de"}
)

// version is one version of a record: the n-th, 0 being the oldest.
type version struct {
	*record
	n      int
	marker bool
	at     time.Time
}

// versions is how many there are.
func (r *record) versions() int { return r.base + len(r.more) }

// version gives the n-th.
func (s *Server) version(r *record, n int) version {
	v := version{record: r, n: n}
	if n >= r.base {
		c := r.more[n-r.base]
		v.marker, v.at = c.marker, c.at.Truncate(time.Second) // as S3 keeps them
		return v
	}
	v.at = r.Modified.Add(time.Duration(n) * time.Second)
	v.marker = r.index >= 0 && s.o.Marker != nil && s.o.Marker(r.index, n)
	return v
}

// newestOf is the version that a request without a version ID means.
func newestOf(s *Server, r *record) version { return s.version(r, r.versions()-1) }

// id is the version ID: 24 characters that tell the key and the version, so that one can be found again from it.
func (v version) id() string {
	return fmt.Sprintf("%016x%08x", mix(v.keySeed()), v.n)
}

// parseID gives the version of r that an ID names.
func parseID(s *Server, r *record, id string) (version, bool) {
	if len(id) != 24 {
		return version{}, false
	}
	n, err := strconv.ParseUint(id[16:], 16, 31)
	if err != nil || int(n) >= r.versions() {
		return version{}, false
	}
	v := s.version(r, int(n))
	return v, v.id() == id
}

// keySeed tells keys apart (FNV-1a).
func (v version) keySeed() uint64 {
	h := uint64(14695981039346656037)
	for i := range len(v.Key) {
		h = (h ^ uint64(v.Key[i])) * 1099511628211
	}
	return h
}

// mix is the output function of SplitMix64: neighbours come out unlike each other.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fill writes the content from off: each eight bytes are computed by themselves, so that any range costs what it is long.
func (v version) fill(b []byte, off int64) {
	seed := mix(v.keySeed() + uint64(v.n)*0x632be59bd9b4e019)
	var word [8]byte
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(word[:], mix(seed+uint64(off/8)))
		n := copy(b, word[off%8:])
		b, off = b[n:], off+int64(n)
	}
}

// Content gives the bytes that the newest version of an object has, for comparing. Ask for small ones only.
func (s *Server) Content(key string) ([]byte, error) {
	r, ok := s.find(key)
	if !ok {
		return nil, fmt.Errorf("no object %q", key)
	}
	b := make([]byte, r.Size)
	newestOf(s, &r).fill(b, 0)
	return b, nil
}

// Current gives what the newest version of an object has beside content, edits included; false: there is none, or a
// delete marker on it.
func (s *Server) Current(key string) (Object, bool) {
	r, ok := s.find(key)
	if !ok {
		return Object{}, false
	}
	v := newestOf(s, &r)
	o := r.Object
	o.Modified, o.Tags = v.at, v.tags()
	return o, !v.marker
}

// tags are the formula's, or what they were changed to.
func (v version) tags() map[string]string {
	if v.retagged == 0 || v.n != v.versions()-1 {
		return v.Tags
	}
	t := maps.Clone(v.Tags)
	if t == nil {
		t = make(map[string]string, 1)
	}
	t["retagged"] = strconv.Itoa(v.retagged)
	return t
}

// etag is without its quotes. small is the content of a small object, or nil: then it is made up once more.
func (v version) etag(small []byte) string {
	if v.Size > smallObject {
		var b [16]byte
		seed := mix(v.keySeed() ^ uint64(v.n))
		binary.BigEndian.PutUint64(b[:], seed)
		binary.BigEndian.PutUint64(b[8:], mix(seed))
		return hex.EncodeToString(b[:]) + "-" + strconv.FormatInt((v.Size+partSize-1)/partSize, 10)
	}
	var buf [64]byte
	if small == nil {
		small = buf[:0]
		if v.Size > int64(len(buf)) {
			small = make([]byte, v.Size)
		}
		small = small[:v.Size]
		v.fill(small, 0)
	}
	sum := md5.Sum(small)
	return hex.EncodeToString(sum[:])
}

// checksum is the CRC64NVME that S3 adds to what is put in one part without another one ("If there isn't a checksum
// specified, S3 ... adds CRC64NVME", User Guide, Checking object integrity).
func checksum(small []byte) string {
	h := crc64nvme.New()
	_, _ = h.Write(small) // never fails
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
