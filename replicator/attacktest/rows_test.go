package attacktest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// findings guards arena.saw.
var findings sync.Mutex

// expected is what an attack has to come to.
type expected string

const (
	refused  expected = "refused"                // by the server, every single try
	harmless expected = "allowed without effect" // the server takes it, and nothing is lost by it
	either   expected = "refused or without effect"
)

// attack is a row of the table in docs/threat-model.md.
type attack struct {
	name   string
	what   string
	expect expected
	do     func(context.Context, *arena) []try
}

// try is one request, or several, of an attack.
type try struct {
	name string // of ours, if it was put on something of ours: verify has to name it if the server took it
	err  error
}

// tried is an attack that names nothing of ours.
func tried(errs ...error) (out []try) {
	for _, err := range errs {
		out = append(out, try{err: err})
	}
	return out
}

// ours is what is in the vault of the points' own objects, those of the given kinds.
func (a *arena) ours(kinds ...string) (out []version) {
	for at := range a.before {
		key, id, _ := strings.Cut(at, " ")
		for _, k := range kinds {
			if strings.HasPrefix(key, folder+k) {
				out = append(out, version{key: key, id: id})
				break
			}
		}
	}
	if len(out) == 0 {
		a.t.Fatalf("the vault has nothing of %q", kinds)
	}
	sortVersions(out)
	return out
}

// everything is every version of ours.
func (a *arena) everything() []version { return a.ours("") }

// each tries something on each of several versions.
func (a *arena) each(list []version, f func(v version) error) (out []try) {
	for _, v := range list {
		out = append(out, try{err: f(v)})
	}
	return out
}

// cover tries something that lies on top of each of several versions if it is allowed.
func (a *arena) cover(list []version, f func(v version) error) []try {
	out := a.each(list, f)
	for i := range out {
		out[i].name = strings.TrimPrefix(list[i].key, folder)
	}
	return out
}

// runAttempt runs one attack and holds the answers against what is expected.
func runAttempt(t *testing.T, a *arena, x attack) {
	t.Helper()
	tries := x.do(t.Context(), a)
	if len(tries) == 0 {
		t.Fatal("nothing was tried")
	}
	taken := 0
	for _, y := range tries {
		switch {
		case y.err == nil:
			taken++
			if y.name != "" {
				a.tampered[y.name] = true
			}
		case code(y.err) == "" && !errors.Is(y.err, errNoAnswer):
			t.Fatalf("the server could not be asked: %v", y.err)
		case x.expect == harmless:
			t.Logf("%s: %v", y.name, y.err)
		}
	}
	switch {
	case x.expect == refused && taken > 0:
		t.Errorf("%d of %d tries were allowed", taken, len(tries))
	case x.expect == harmless && taken == 0:
		t.Errorf("none of %d tries was allowed, so the attack shows nothing: %v", len(tries), tries[0].err)
	}
}

// errNoAnswer: the client refused to send it, or the server closed the connection.
var errNoAnswer = errors.New("not sent")

func put(ctx context.Context, c *s3.Client, bucket, key string, body []byte, edit ...func(*s3.PutObjectInput)) error {
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(string(body))}
	for _, e := range edit {
		e(in)
	}
	_, err := c.PutObject(ctx, in)
	if err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

// stealFrom puts an object as the thief of the writer's key, under a name in the repository's folder.
func stealFrom(ctx context.Context, a *arena, name string, body []byte) error {
	return put(ctx, a.writer, a.bucket, folder+name, body)
}
