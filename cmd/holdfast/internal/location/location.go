// Package location reads the URLs that name vaults, sources and restore targets: s3://BUCKET/PREFIX?..,
// file:///PATH, ebs://REGION?.., ec2://REGION?.. and exec: (a program that the configuration names).
//
// It looks at text only: it opens nothing, resolves nothing and keeps no credentials. A URL with a user name, a password
// or a signature in it is refused, and no error repeats what stood there.
package location

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/s3url"
)

// Kind is the sort of place a URL names; it is the URL's scheme.
type Kind string

const (
	S3   Kind = "s3"   // a bucket, or a prefix in one
	File Kind = "file" // a directory of this machine
	EBS  Kind = "ebs"  // EBS snapshots of a region
	EC2  Kind = "ec2"  // machines of a region
	Exec Kind = "exec" // what a program writes to its standard output
)

// kind is what a URL of one scheme says.
type kind struct {
	is           Kind
	parse        func(k Kind, text string, u *url.URL) (Location, error)
	local        bool // see Local
	vault, locks bool // objects can be kept there, and locked
	program      bool // see Program
}

// kinds is the one list of them; what reads and stores there is in backends.go of cmd/holdfast.
func kinds() []kind {
	return []kind{
		{is: S3, parse: parseS3, vault: true, locks: true},
		{is: File, parse: parseFile, local: true, vault: true},
		{is: EBS, parse: parseAWS},
		{is: EC2, parse: parseAWS},
		{is: Exec, parse: parseExec, program: true},
	}
}

func (k Kind) known() kind {
	for _, known := range kinds() {
		if known.is == k {
			return known
		}
	}
	return kind{}
}

// ErrSecret: a URL that carries a password, an access key or a signature.
var ErrSecret = errors.New("a URL must not carry credentials; give them with a credentials reference such as env:PREFIX or file:PATH")

// Location is a place that can be read from or stored to. Which fields are set depends on Kind.
type Location struct {
	Kind Kind
	Text string // the URL as given

	Path string // File: an absolute, clean path

	S3 s3url.Location // S3

	AWS *AWS // EBS, EC2
}

// String is the URL as it was given.
func (l Location) String() string { return l.Text }

// Local reports whether this is a directory of this machine, which takes no credentials.
func (l Location) Local() bool { return l.Kind.known().local }

// Program reports whether this is a program of this machine, which the URL does not name.
func (l Location) Program() bool { return l.Kind.known().program }

// Keyed reports whether credentials are needed to get there.
func (l Location) Keyed() bool { return !l.Local() && !l.Program() }

// Vault reports whether objects can be kept here.
func (l Location) Vault() bool { return l.Kind.known().vault }

// Locks reports whether objects can be locked here.
func (l Location) Locks() bool { return l.Kind.known().locks }

// Insecure reports whether what goes to this place can be read on the network: an http:// endpoint that is not this machine.
func (l Location) Insecure() bool {
	switch {
	case l.Kind == S3:
		return !l.S3.Secure() && !l.S3.Loopback()
	case l.AWS != nil:
		return strings.HasPrefix(l.AWS.Endpoint, "http:") && !loopback(l.AWS.Endpoint)
	}
	return false
}

// Same reports whether two locations are one place, however they are spelled.
func (l Location) Same(o Location) bool {
	a, b := l.S3, o.S3
	a.PathStyle, b.PathStyle = false, false
	a.Region, b.Region = "", ""
	a.Prefix, b.Prefix = strings.Trim(a.Prefix, "/"), strings.Trim(b.Prefix, "/")
	a.Endpoint, b.Endpoint = host(a.Endpoint), host(b.Endpoint)
	return l.Kind == o.Kind && l.Path == o.Path && a == b && reflect.DeepEqual(l.AWS, o.AWS)
}

// Mark is a short text that two places which are not the Same share by bad luck alone. It says nothing of where they are to whoever does
// not know it already.
func (l Location) Mark() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(l.Kind), l.Path, host(l.S3.Endpoint), l.S3.Bucket, strings.Trim(l.S3.Prefix, "/")}, "\n")))
	return hex.EncodeToString(sum[:8])
}

// Overlaps reports whether one of two places is the other, or lies in it.
func (l Location) Overlaps(o Location) bool {
	if l.Local() && o.Local() {
		return within(l.Path, o.Path) || within(o.Path, l.Path)
	}
	if l.Kind != o.Kind || l.AWS != nil || l.Program() { // what is restored to AWS is something new
		return false
	}
	if l.S3.Bucket != o.S3.Bucket || host(l.S3.Endpoint) != host(o.S3.Endpoint) {
		return false
	}
	return l.PrefixesOverlap(o)
}

// PrefixesOverlap reports whether two places would overlap if they were in one bucket.
func (l Location) PrefixesOverlap(o Location) bool {
	a, b := strings.Trim(l.S3.Prefix, "/"), strings.Trim(o.S3.Prefix, "/")
	return within(a, b) || within(b, a)
}

// host is an endpoint in one spelling: hosts in lower case without a dot at their end, no port that goes without saying. Which
// hosts are one machine is not to be seen from their names.
func host(endpoint string) string {
	u, err := url.Parse(strings.ToLower(endpoint))
	if err != nil {
		return strings.ToLower(endpoint)
	}
	name, port := strings.TrimSuffix(u.Hostname(), "."), u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + name
	}
	return u.Scheme + "://" + name + ":" + port
}

func within(path, of string) bool {
	of = strings.TrimSuffix(of, "/")
	return of == "" || path == of || strings.HasPrefix(path, of+"/")
}

// Parse reads a URL.
func Parse(text string) (Location, error) {
	if rest, ok := strings.CutPrefix(text, "exec:"); ok {
		return parseExec(Exec, rest, nil)
	}
	scheme, _, ok := strings.Cut(text, "://")
	if !ok {
		return Location{}, errors.New("a URL is needed, such as s3://bucket/prefix or file:///srv/data")
	}
	u, err := url.Parse(text)
	if err != nil {
		// The parser's own text repeats the URL, which may hold a password.
		return Location{}, errors.New("this is not a URL; check it for spaces, and for % not followed by two hexadecimal digits")
	}
	if u.User != nil {
		return Location{}, ErrSecret
	}
	if u.Fragment != "" || strings.HasSuffix(text, "#") {
		return Location{}, errors.New("# has no meaning in this URL; write %23 where it is part of a name")
	}
	if parse := Kind(scheme).known().parse; parse != nil {
		return parse(Kind(scheme), text, u)
	}
	if scheme == "http" || scheme == "https" {
		return Location{}, fmt.Errorf("%s:// is no kind of place by itself; for a bucket write s3://BUCKET/PREFIX?endpoint=%s://HOST", scheme, scheme)
	}
	var names []string
	for _, k := range kinds() {
		names = append(names, string(k.is)+"://")
	}
	last := len(names) - 1
	return Location{}, fmt.Errorf("unknown kind of URL %q; this version reads %s and %s", clip(scheme)+"://", strings.Join(names[:last], ", "), names[last])
}

// parseExec takes no more than the scheme: rest is what stands behind it.
func parseExec(k Kind, rest string, _ *url.URL) (Location, error) {
	if rest != "" && rest != "//" {
		return Location{}, errors.New(`exec: takes nothing behind it; write url: "exec:", and the program and its arguments as a list under command`)
	}
	return Location{Kind: k, Text: "exec:"}, nil
}

func parseFile(_ Kind, text string, u *url.URL) (Location, error) {
	if u.Host != "" {
		return Location{}, fmt.Errorf("file URLs take an absolute path and no host: write file:///%s", strings.TrimPrefix(u.Host+u.Path, "/"))
	}
	if u.RawQuery != "" || u.ForceQuery {
		return Location{}, errors.New("file URLs take no parameters; write %3F where ? is part of a name")
	}
	if !strings.HasPrefix(u.Path, "/") {
		return Location{}, errors.New("file URLs take an absolute path: file:///srv/data")
	}
	if strings.ContainsRune(u.Path, 0) {
		return Location{}, errors.New("a path cannot hold a NUL")
	}
	return Location{Kind: File, Text: text, Path: path.Clean(u.Path)}, nil
}

func parseS3(_ Kind, text string, u *url.URL) (Location, error) {
	for name := range u.Query() {
		if secretParameter(name) {
			return Location{}, ErrSecret
		}
	}
	if e, err := url.Parse(u.Query().Get("endpoint")); err == nil && e.User != nil {
		return Location{}, ErrSecret
	}
	l, err := s3url.Parse(text)
	if err != nil {
		return Location{}, err
	}
	return Location{Kind: S3, Text: text, S3: l}, nil
}

// secretParameter finds presigned URLs and the habits of other programs.
func secretParameter(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"key", "secret", "token", "signature", "credential", "password"}, func(s string) bool {
		return strings.Contains(name, s)
	})
}

func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
