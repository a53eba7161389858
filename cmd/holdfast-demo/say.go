package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// story prints what happens, for somebody who reads along.
type story struct {
	out   io.Writer
	began time.Time
	acts  int
}

// act begins a part of the story.
func (s *story) act(title string) {
	s.acts++
	fmt.Fprintf(s.out, "\n%d. %s\n", s.acts, title)
}

func (s *story) say(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintf(s.out, "   %s\n", line)
	}
}

// number writes 1234567 as 1,234,567.
func number[T int | int64](n T) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// bytesOf writes a size for people.
func bytesOf(n int64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%d bytes", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f s", math.Max(0.1, d.Seconds()))
}

// plural writes "1 object" and "2 objects".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(n) + " " + what + "s"
}
