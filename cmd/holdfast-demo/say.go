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
		fmt.Fprintln(s.out, strings.TrimRight("   "+line, " "))
	}
}

// wide is how many columns a line gets.
const wide = 110

// wrap breaks text between words into lines of at most width columns, all but the first indented, and cuts words that no
// line would hold, such as public keys. What ends a line that goes on is put behind it.
func wrap(text string, width int, goesOn, indent string) string {
	var out strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		if runes := []rune(word); len(runes) > 2*width {
			word = string(runes[:width/2]) + "…"
		}
		n := len([]rune(word))
		switch {
		case i == 0:
		case column+1+n > width:
			out.WriteString(goesOn + "\n" + indent)
			column = len(indent)
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += n
	}
	return out.String()
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
