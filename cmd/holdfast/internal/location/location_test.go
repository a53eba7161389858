package location

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store/s3url"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Location{
		"s3://acme": {Kind: S3, S3: s3url.Location{Bucket: "acme"}},
		"s3://acme/p%20q?endpoint=https://s3.example.com:9000/&region=r": {Kind: S3, S3: s3url.Location{Bucket: "acme", Prefix: "p q",
			Endpoint: "https://s3.example.com:9000", Region: "r", PathStyle: true}},
		"file:///srv/site/":         {Kind: File, Path: "/srv/site"},
		"file:///srv/a%20b/../c%23": {Kind: File, Path: "/srv/c#"},
		"file:///":                  {Kind: File, Path: "/"},
	} {
		want.Text = text
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const secret = "hunter2"
	for text, want := range map[string]string{
		"":                                       "URL is needed",
		"/srv/data":                              "URL is needed",
		"srv/data":                               "URL is needed",
		"file://srv/data":                        "file:///srv/data",
		"file:///srv?x=1":                        "no parameters",
		"file:///a%00b":                          "NUL",
		"https://bucket.example.com":             "s3://BUCKET",
		"ebs://eu-west-1?tag=backup:yes":         "this version reads s3:// and file://",
		"s3://ab":                                "bucket name",
		"s3://acme?regoin=x":                     `unknown parameter "regoin"`,
		"s3://acme#x":                            "%23",
		"s3://acme/%zz":                          "hexadecimal",
		"s3://me:hunter2@acme/p":                 "must not carry credentials",
		"s3://acme?endpoint=https://u:hunter2@h": "must not carry credentials",
		"s3://acme?secret_key=hunter2":           "must not carry credentials",
		"s3://me:hunter2@acme/%zz":               "not a URL",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v; want an error with %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("Parse(%q) repeats the secret: %v", text, err)
		}
	}
	if _, err := Parse("s3://u:p@acme"); !errors.Is(err, ErrSecret) {
		t.Errorf("userinfo is not ErrSecret: %v", err)
	}
}

func TestInsecure(t *testing.T) {
	for text, want := range map[string]bool{
		"s3://acme":                                 false,
		"s3://acme?endpoint=https://h.example":      false,
		"s3://acme?endpoint=http://h.example":       true,
		"s3://acme?endpoint=http://10.0.0.1:9000":   true,
		"s3://acme?endpoint=http://127.0.0.1:9000":  false,
		"s3://acme?endpoint=http://[::1]:9000":      false,
		"s3://acme?endpoint=http://localhost:9000/": false,
		"file:///srv": false,
	} {
		l, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Insecure(); got != want {
			t.Errorf("%s: Insecure is %v", text, got)
		}
	}
}

func TestSame(t *testing.T) {
	parse := func(s string) Location {
		l, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if !parse("s3://acme/p/?region=r&endpoint=https://H").Same(parse("s3://acme/p?endpoint=https://h/&region=r&path_style=false")) {
		t.Error("one place under two spellings is not recognised")
	}
	if parse("s3://acme/p").Same(parse("s3://acme/q")) {
		t.Error("two prefixes taken for one")
	}
}
