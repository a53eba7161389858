package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

func some() object {
	return object{
		size: 3, sha256: [32]byte{1},
		headers:  map[string]string{"Content-Type": "text/plain", "Expires": ""},
		metadata: map[string]string{"owner": "me"},
		tags:     map[string]string{"keep": "yes"},
	}
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		change func(contents)
		want   []string // beginnings of the differences
	}{
		"nothing":       {func(contents) {}, nil},
		"gone":          {func(c contents) { delete(c, "b") }, []string{"b: missing"}},
		"more":          {func(c contents) { c["aa"] = some() }, []string{"aa: was not there"}},
		"shorter":       {func(c contents) { o := c["a"]; o.size = 2; c["a"] = o }, []string{"a: 2 bytes instead of 3"}},
		"other bytes":   {func(c contents) { o := c["b"]; o.sha256[31] = 1; c["b"] = o }, []string{"b: other bytes"}},
		"other header":  {func(c contents) { c["a"].headers["Content-Type"] = "text/html" }, []string{"a: header Content-Type"}},
		"new header":    {func(c contents) { c["a"].headers["Expires"] = "0" }, []string{"a: header Expires"}},
		"metadata gone": {func(c contents) { delete(c["a"].metadata, "owner") }, []string{"a: metadata owner"}},
		"metadata more": {func(c contents) { c["a"].metadata["x"] = "" }, []string{"a: metadata x"}},
		"tags gone":     {func(c contents) { o := c["a"]; o.tags = nil; c["a"] = o }, []string{"a: tag keep"}},
		"other tag":     {func(c contents) { c["b"].tags["keep"] = "no" }, []string{"b: tag keep"}},
		"several":       {func(c contents) { c["b"].tags["keep"] = "no"; delete(c, "a") }, []string{"a: missing", "b: tag keep"}},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := contents{"a": some(), "b": some()}, contents{"a": some(), "b": some()}
			c.change(got)
			if have := compare(want, got); !slices.EqualFunc(have, c.want, strings.HasPrefix) {
				t.Errorf("differences %q, not %q", have, c.want)
			}
		})
	}
}

func TestHarm(t *testing.T) {
	now := time.Now()
	state := func() vaultState {
		return vaultState{{"pack", "1"}: {sha256: [32]byte{1}, size: 1, until: now, mode: types.ObjectLockRetentionModeCompliance}}
	}
	for name, c := range map[string]struct {
		change func(s *stored)
		want   int
	}{
		"nothing":     {func(*stored) {}, 0},
		"longer":      {func(s *stored) { s.until = now.Add(time.Hour) }, 0},
		"shorter":     {func(s *stored) { s.until = now.Add(-time.Second) }, 1},
		"governance":  {func(s *stored) { s.mode = types.ObjectLockRetentionModeGovernance }, 1},
		"unlocked":    {func(s *stored) { s.mode, s.until = "", time.Time{} }, 1},
		"other bytes": {func(s *stored) { s.sha256[0] = 2 }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			after := state()
			s := after[[2]string{"pack", "1"}]
			c.change(&s)
			after[[2]string{"pack", "1"}] = s
			after[[2]string{"pack", "2"}] = stored{} // junk on top is no harm
			if got := harm(state(), after); len(got) != c.want {
				t.Errorf("harm %q, not %d", got, c.want)
			}
		})
	}
	if got := harm(state(), vaultState{}); len(got) != 1 {
		t.Errorf("a version that is gone is not noticed: %q", got)
	}
}

// answers makes an attempt of what a server would say.
func answers(errs ...error) func(context.Context, target) []error {
	return func(context.Context, target) []error { return errs }
}

// A server that allows what it must refuse is a failure of the demo, even if nothing was lost.
func TestBreach(t *testing.T) {
	denied := &smithy.GenericAPIError{Code: "AccessDenied"}
	for name, c := range map[string]struct {
		harmless string
		answers  []error
		verdict  string
		breach   bool
	}{
		"all refused":         {"", []error{denied, denied}, "refused", false},
		"one of them allowed": {"", []error{denied, nil}, "ALLOWED", true},
		"harmless":            {"on top", []error{nil, nil}, "allowed", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := attempt{what: name, harmless: c.harmless, do: answers(c.answers...)}
			o, err := a.try(t.Context(), "key", target{})
			if err != nil || o.verdict() != c.verdict || o.breach() != c.breach {
				t.Errorf("%s, breach %t, %v", o.verdict(), o.breach(), err)
			}
			d := demo{outcomes: []outcome{o}}
			if err := d.verdict(); (err != nil) != c.breach {
				t.Errorf("the demo ends with %v", err)
			}
		})
	}
	if _, err := (attempt{do: answers()}).try(t.Context(), "key", target{}); err == nil {
		t.Error("an attempt that tried nothing passed")
	}
	if _, err := (attempt{do: answers(errors.New("connection refused"))}).try(t.Context(), "key", target{}); err == nil {
		t.Error("a server that was not reached passed for one that refused")
	}
}
