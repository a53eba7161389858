package ebsdirect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// recorder answers every request with 200 and remembers it.
type recorder struct{ asked []string }

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.asked = append(r.asked, q.Method+" "+q.URL.Path)
	return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}, Request: q}, nil
}

// A client that was not made to write cannot: whatever is called, nothing but GET leaves it.
func TestReadsOnly(t *testing.T) {
	rec := &recorder{}
	c, err := New(Options{Region: "eu-west-1", Endpoint: "http://127.0.0.1:1", Transport: rec, MaxBackoff: time.Millisecond,
		Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"})})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, err = c.Start(ctx, NewSnapshot{Size: 1 << 30, Token: "t"})
	for what, err := range map[string]error{
		"start": err, "put": c.Put(ctx, "snap-1", 1, make([]byte, 512<<10), [32]byte{}), "complete": c.Complete(ctx, "snap-1", 1, [32]byte{}),
	} {
		if err == nil || !strings.Contains(err.Error(), "sources are only read") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(rec.asked) > 0 {
		t.Errorf("%q were sent", rec.asked)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a client without a region")
	}
}

// The pace finds a limit from above and stays near it, whatever it began with.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, allowed := range []float64{30, 300, 5000} {
			p := newPace(1000)
			served, denied := 0, 0
			tokens, last := 0.0, time.Now()
			from := last
			for time.Since(from) < 30*time.Second {
				if err := p.wait(context.Background()); err != nil {
					t.Fatal(err)
				}
				tokens = min(tokens+time.Since(last).Seconds()*allowed, max(allowed/10, 1))
				last = time.Now()
				ok := tokens >= 1
				if ok {
					tokens--
					served++
				} else {
					denied++
				}
				p.saw(!ok)
			}
			rate := float64(served) / 30
			t.Logf("%.0f allowed: %.0f served, %d of %d denied", allowed, rate, denied, served+denied)
			if rate < 0.9*min(allowed, 1000) || denied > served/3 {
				t.Errorf("%.0f a second are allowed, %.0f were served and %d of %d denied", allowed, rate, denied, served+denied)
			}
		}
	})
}

// A listing whose token has expired goes on behind its last block; one that does not go on is an error.
func TestLines(t *testing.T) {
	expired := &types.ValidationException{Reason: types.ValidationExceptionReasonInvalidPageToken}
	var asked []string
	ask := func(_ context.Context, token string, from int64) (page, error) {
		asked = append(asked, fmt.Sprintf("%s@%d", token, from))
		switch {
		case token == "one":
			return page{}, expired
		case token == "" && from == 6:
			return page{next: "empty"}, nil
		case token == "empty":
			return page{blocks: []listed{{9, "t9"}}}, nil
		}
		return page{}, errors.New("asked for something else")
	}
	collect := func(ask asker, first page) (out []int64, err error) {
		for b, err := range lines(t.Context(), ask, first) {
			if err != nil {
				return out, err
			}
			out = append(out, b.n)
		}
		return out, nil
	}
	got, err := collect(ask, page{blocks: []listed{{1, "a"}, {5, "b"}}, next: "one"})
	if err != nil || !slices.Equal(got, []int64{1, 5, 9}) || !slices.Equal(asked, []string{"one@0", "@6", "empty@0"}) {
		t.Errorf("%v, %v; asked %q", got, err, asked)
	}
	if _, err := collect(ask, page{blocks: []listed{{5, "a"}, {5, "b"}}}); err == nil {
		t.Error("a block twice was taken")
	}
	if _, err := collect(func(context.Context, string, int64) (page, error) { return page{}, expired }, page{next: "x"}); !errors.Is(err, expired) {
		t.Errorf("a token that expires again and again: %v", err)
	}
	if _, err := collect(func(context.Context, string, int64) (page, error) { return page{next: "x"}, nil }, page{next: "x"}); err == nil {
		t.Error("a listing without end was taken")
	}
}
