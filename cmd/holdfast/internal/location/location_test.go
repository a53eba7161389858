package location

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store/s3url"
)

func TestParse(t *testing.T) {
	for _, text := range []string{"exec:", "exec://"} {
		l, err := Parse(text)
		if err != nil || l.Kind != Exec || l.String() != "exec:" || !l.Program() || l.Keyed() || l.Local() || l.Vault() || l.Insecure() || l.Overlaps(l) {
			t.Errorf("Parse(%q) = %+v, %v", text, l, err)
		}
	}
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

func TestParseAWS(t *testing.T) {
	const text = "ebs://eu-west-1?tag=backup:yes&tag=app:a%3Ab&volume=vol-0123456789abcdef0&all=true&create=i-12345678&endpoint=http://127.0.0.1:1/"
	l, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := AWS{
		Region: "eu-west-1", Endpoint: "http://127.0.0.1:1", Tags: []Tag{{"app", "a:b"}, {"backup", "yes"}}, All: true,
		Volumes: []string{"vol-0123456789abcdef0"}, Instances: []string{"i-12345678"},
	}
	if l.Kind != EBS || !reflect.DeepEqual(*l.AWS, want) || l.Insecure() || l.String() != text {
		t.Errorf("%+v %+v", l, *l.AWS)
	}
	other, err := Parse("ebs://eu-west-1?snapshot=snap-0123456789abcdef0&endpoint=http://10.0.0.1")
	if err != nil || !other.Insecure() || other.Same(l) || !l.Same(l) || l.Overlaps(l) {
		t.Errorf("%+v %v", other, err)
	}
	machines, err := Parse("ec2://us-gov-west-1?tag=backup:yes")
	if err != nil || machines.Kind != EC2 || machines.AWS.Region != "us-gov-west-1" || machines.Insecure() {
		t.Errorf("%+v %v", machines, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const secret = "hunter2"
	for text, want := range map[string]string{
		"exec:pg_dump":                          "under command",
		"exec://host":                           "under command",
		"exec:hunter2":                          "under command",
		"":                                      "URL is needed",
		"/srv/data":                             "URL is needed",
		"srv/data":                              "URL is needed",
		"file://srv/data":                       "file:///srv/data",
		"file:///srv?x=1":                       "no parameters",
		"file:///a%00b":                         "NUL",
		"https://bucket.example.com":            "s3://BUCKET",
		"gcs://bucket":                          "this version reads s3://, file://",
		"ebs://":                                "name a region",
		"ebs://Europe":                          "name a region",
		"ebs://eu-west-1/vol-1":                 "name a region",
		"ebs://eu-west-1?tag=backup":            "tag=KEY:VALUE",
		"ebs://eu-west-1?snapshot=vol-12345678": "begins with snap-",
		"ebs://eu-west-1?snapshot=snap-0123456789abcdef0&tag=a:b": "do not go with it",
		"ebs://eu-west-1?all=maybe":                               "all is no parameter",
		"ebs://eu-west-1?endpoint=ftp://h":                        "endpoint takes a URL",
		"ebs://eu-west-1?endpoint=https://u:hunter2@h":            "must not carry credentials",
		"ebs://eu-west-1?secret=hunter2":                          "must not carry credentials",
		"ec2://eu-west-1?snapshot=snap-12345678":                  "there are endpoint and tag",
		"s3://ab":                                                 "bucket name",
		"s3://acme?regoin=x":                                      `unknown parameter "regoin"`,
		"s3://acme#x":                                             "%23",
		"s3://acme/%zz":                                           "hexadecimal",
		"s3://me:hunter2@acme/p":                                  "must not carry credentials",
		"s3://acme?endpoint=https://u:hunter2@h":                  "must not carry credentials",
		"s3://acme?secret_key=hunter2":                            "must not carry credentials",
		"s3://me:hunter2@acme/%zz":                                "not a URL",
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
