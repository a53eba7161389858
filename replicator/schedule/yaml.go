package schedule

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pair is a key of a mapping with its value: a string, a number, a truth value, an object or a list.
type pair struct {
	key   string
	value any
}

// object is a mapping in the order in which it is written; list is a sequence.
type (
	object []pair
	list   []any
)

// document writes one YAML document. Texts are quoted wherever YAML of any version could take them for something else.
func document(o object) string {
	var b strings.Builder
	b.WriteString("---\n")
	writeObject(&b, o, "")
	return b.String()
}

func writeObject(b *strings.Builder, o object, indent string) {
	for _, p := range o {
		fmt.Fprintf(b, "%s%s:", indent, scalar(p.key))
		writeValue(b, p.value, indent)
	}
}

// writeValue writes what stands behind a key's colon.
func writeValue(b *strings.Builder, v any, indent string) {
	switch v := v.(type) {
	case object:
		if len(v) == 0 {
			b.WriteString(" {}\n")
			return
		}
		b.WriteString("\n")
		writeObject(b, v, indent+"  ")
	case list:
		if len(v) == 0 {
			b.WriteString(" []\n")
			return
		}
		b.WriteString("\n")
		for _, item := range v {
			writeItem(b, item, indent+"  ")
		}
	case string:
		if literal(v) {
			b.WriteString(" |\n")
			for line := range strings.Lines(v) {
				if line != "\n" {
					line = indent + "  " + line
				}
				b.WriteString(line)
			}
			return
		}
		b.WriteString(" " + scalar(v) + "\n")
	default:
		fmt.Fprintf(b, " %v\n", v)
	}
}

// writeItem writes one item of a list; the first key of a mapping stands behind the dash.
func writeItem(b *strings.Builder, item any, indent string) {
	o, ok := item.(object)
	if !ok {
		fmt.Fprintf(b, "%s-", indent)
		writeValue(b, item, indent)
		return
	}
	var inner strings.Builder
	writeObject(&inner, o, indent+"  ")
	b.WriteString(indent + "- " + strings.TrimPrefix(inner.String(), indent+"  "))
}

var (
	bare   = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*$`)
	spoken = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)

// scalar writes a text: as it is where it can only be a text, else as JSON, which YAML reads as well.
func scalar(s string) string {
	if bare.MatchString(s) && !slices.Contains(spoken, strings.ToLower(s)) {
		return s
	}
	q, _ := json.Marshal(s) // a text can always be written
	return string(q)
}

// literal reports whether a text can stand as the lines that it has.
func literal(s string) bool {
	return strings.HasSuffix(s, "\n") && !strings.HasSuffix(s, "\n\n") && len(s) > 1 && s[0] != ' ' && s[0] != '\n' &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == '\ufffd'
		})
}
