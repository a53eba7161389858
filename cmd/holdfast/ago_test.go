package main

import (
	"testing"
	"time"
)

// An age beyond what is allowed never reads as if it were allowed.
func TestAgoBeyond(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		age, most time.Duration
		want      string
	}{
		{27 * hour, 26 * hour, "1d 3h"},
		{26*hour + 20*time.Second, 26 * hour, "1d 2h and 20s"},
		{26*hour + 59*time.Minute, 26 * hour, "1d 2h and 59m"},
		{2*hour + time.Millisecond, 2 * hour, "2h and 1s"},
		{30*24*hour + 30*time.Minute, 30 * 24 * hour, "30d and 30m"},
	} {
		if got := agoBeyond(c.age, c.most); got != c.want {
			t.Errorf("%s, at most %s: %q, want %q", c.age, c.most, got, c.want)
		}
	}
}
