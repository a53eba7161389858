package s3url_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/s3url"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]s3url.Location{
		"s3://acme-vault":      {Bucket: "acme-vault"},
		"s3://acme-vault/":     {Bucket: "acme-vault"},
		"s3://acme-vault/a/b/": {Bucket: "acme-vault", Prefix: "a/b/"},
		"s3://acme-vault/prod?endpoint=https://s3.eu-central-1.example.com&region=eu-central-1": {
			Bucket: "acme-vault", Prefix: "prod", Endpoint: "https://s3.eu-central-1.example.com", Region: "eu-central-1", PathStyle: true},
		"s3://b.b?endpoint=http://127.0.0.1:9000/&path_style=false":  {Bucket: "b.b", Endpoint: "http://127.0.0.1:9000"},
		"s3://bbb?path_style=true&region=us-east-1":                  {Bucket: "bbb", Region: "us-east-1", PathStyle: true},
		"s3://bbb//odd%20prefix/%C3%BC?endpoint=https%3A%2F%2Fh%3A1": {Bucket: "bbb", Prefix: "/odd prefix/ü", Endpoint: "https://h:1", PathStyle: true},
	} {
		got, err := s3url.Parse(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for in, want := range map[string]string{
		"":                                        "scheme",
		"file:///x":                               "scheme",
		"s3:///prefix":                            "bucket name",
		"s3://ab":                                 "3 to 63",
		"s3://bu*ket":                             "bucket",
		"s3://bucket:99/x":                        "bucket",
		"s3://AKID:hidden@bucket/x":               "credentials do not belong",
		"s3://bucket?regoin=x":                    `unknown parameter "regoin"`,
		"s3://bucket?region=a&region=b":           "2 times",
		"s3://bucket?path_style=yes":              "true or false",
		"s3://bucket?endpoint=example.com":        "https://HOST",
		"s3://bucket?endpoint=ftp://h":            "https://HOST",
		"s3://bucket?endpoint=https://":           "https://HOST",
		"s3://bucket?endpoint=https://u:hidden@h": "credentials do not belong",
		"s3://bucket?endpoint=https://h/path":     "end after the host",
		"s3://bucket/p#x":                         "%23",
		"s3://bucket?region=%zz":                  "not readable",
		"s3://u:hidden@bucket%zz":                 "not a URL",
	} {
		_, err := s3url.Parse(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", in, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: the secret is repeated: %v", in, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := s3url.Location{
			Bucket:    rapid.StringMatching(`[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]`).Draw(t, "bucket"),
			Prefix:    rapid.String().Draw(t, "prefix"),
			Endpoint:  rapid.SampledFrom([]string{"", "https://s3.example.com", "http://127.0.0.1:9000", "https://[::1]:9000"}).Draw(t, "endpoint"),
			Region:    rapid.SampledFrom([]string{"", "eu-west-1", "a b&c"}).Draw(t, "region"),
			PathStyle: rapid.Bool().Draw(t, "path style"),
		}
		got, err := s3url.Parse(l.String())
		if err != nil || got != l {
			t.Fatalf("%q gave %+v, %v; want %+v", l.String(), got, err, l)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("s3://bucket/prefix?endpoint=https://h&region=r&path_style=true")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := s3url.Parse(s)
		if err != nil {
			return
		}
		if again, err := s3url.Parse(l.String()); err != nil || again != l {
			t.Errorf("%q gave %+v, spelled %q, which gives %+v, %v", s, l, l.String(), again, err)
		}
	})
}

func TestLoopback(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://127.0.0.1:9000": true, "http://[::1]:9000": true, "http://localhost": true, "http://192.168.1.1": false, "": false, "https://s3.example.com": false,
	} {
		l := s3url.Location{Endpoint: endpoint}
		if l.Loopback() != want || l.Secure() != !strings.HasPrefix(endpoint, "http:") {
			t.Errorf("%q: loopback %t, secure %t", endpoint, l.Loopback(), l.Secure())
		}
	}
}
