package s3source

import (
	"crypto/md5"  //nolint:gosec // what S3 ETags are
	"crypto/sha1" //nolint:gosec // what some S3 checksums are
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
)

// check compares a whole read with what the source says of it.
type check struct {
	name string
	sum  hash.Hash
	want string // raw bytes
	also string // or these: what the listing's ETag says, where the answer has another
	tag  bool   // it is the ETag, which may be no MD5
}

// ok reports whether everything written to c.sum is what it should be. A nil check is always ok.
func (c *check) ok() bool {
	if c == nil {
		return true
	}
	got := string(c.sum.Sum(nil))
	return got == c.want || c.also != "" && got == c.also
}

func (c *check) add(b []byte) {
	if c != nil {
		_, _ = c.sum.Write(b)
	}
}

// checksums gives what the source sent, by name in lower case, base64 as sent.
func checksums(out *s3.GetObjectOutput) map[string]string {
	var m map[string]string
	for _, c := range [...]struct {
		name  string
		value *string
	}{
		{"crc32", out.ChecksumCRC32}, {"crc32c", out.ChecksumCRC32C}, {"crc64nvme", out.ChecksumCRC64NVME},
		{"sha1", out.ChecksumSHA1}, {"sha256", out.ChecksumSHA256}, {"sha512", out.ChecksumSHA512},
		{"md5", out.ChecksumMD5}, {"xxhash64", out.ChecksumXXHASH64}, {"xxhash3", out.ChecksumXXHASH3},
		{"xxhash128", out.ChecksumXXHASH128},
	} {
		if c.value != nil && *c.value != "" {
			if m == nil {
				m = map[string]string{}
			}
			m[c.name] = *c.value
		}
	}
	return m
}

// makers are the checksums that are checked, the cheapest first. Any of them tells damage; whether someone changed the
// bytes on purpose is not what they are for.
var makers = [...]struct {
	name string
	make func() hash.Hash
}{
	{"crc64nvme", func() hash.Hash { return crc64nvme.New() }},
	{"crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
	{"crc32", func() hash.Hash { return crc32.NewIEEE() }},
	{"sha256", sha256.New},
	{"sha1", sha1.New},
	{"md5", md5.New},
}

// newCheck picks how a whole read is checked; nil: the source gives nothing to check it by.
func newCheck(out *s3.GetObjectOutput, sums map[string]string, listed string, skipMD5 bool) *check {
	if out.ChecksumType != types.ChecksumTypeComposite {
		for _, m := range makers {
			value, ok := sums[m.name]
			if !ok {
				continue
			}
			h := m.make()
			if raw, err := base64.StdEncoding.DecodeString(value); err == nil && len(raw) == h.Size() {
				return &check{name: m.name, sum: h, want: string(raw)}
			} // anything else is a composite ("...-3") of a server that does not say so
		}
	}
	if skipMD5 || out.SSECustomerAlgorithm != nil || out.ServerSideEncryption == types.ServerSideEncryptionAwsKms ||
		out.ServerSideEncryption == types.ServerSideEncryptionAwsKmsDsse {
		return nil
	}
	want, also := md5Of(unquote(str(out.ETag))), md5Of(listed)
	switch {
	case want == "" && also == "":
		return nil // of several parts, or something else altogether
	case want == "":
		want, also = also, ""
	}
	return &check{name: "MD5 ETag", sum: md5.New(), want: want, also: also, tag: true} //nolint:gosec // what S3 ETags are
}

// md5Of gives the MD5 that an ETag may be; "" if it is none.
func md5Of(etag string) string {
	raw, err := hex.DecodeString(etag)
	if err != nil || len(raw) != md5.Size {
		return ""
	}
	return string(raw)
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
