package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/holdfast-backup/holdfast/replicator/retain"
)

// maxFile bounds a configuration file in bytes, maxProblems how many problems are listed.
const (
	maxFile     = 1 << 20
	maxProblems = 20
)

// decoder walks the parsed file itself instead of filling structs by reflection: so every message, those about units and
// those about how two values fit together included, can say where.
type decoder struct {
	file     string
	problems []Problem
}

func (d *decoder) problem(n ast.Node, format string, args ...any) {
	p := Problem{File: d.file, Message: fmt.Sprintf(format, args...)}
	if t := begin(n); t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, p)
	}
}

// begin gives the token a node begins with; the library's own choice for a block of keys is the first colon.
func begin(n ast.Node) *token.Token {
	switch m := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return m.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return m.Key.GetToken()
	}
	return n.GetToken()
}

// parse gives the file's one document, or nil for an empty file.
func (d *decoder) parse(text []byte) ast.Node {
	if len(text) > maxFile {
		d.problem(nil, "the file has %d bytes; a configuration has at most %d", len(text), maxFile)
		return nil
	}
	if line, column, ok := notUTF8(text); ok {
		d.problems = append(d.problems, Problem{File: d.file, Line: line, Column: column, Message: "the file is not UTF-8 text from here on; save it as UTF-8"})
		return nil
	}
	// Duplicate keys are let through here and refused by object, which says where the first one stands.
	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			d.problem(doc.Body, "a second document begins here; a configuration is one")
			return nil
		}
		body = doc.Body
	}
	return body
}

func (d *decoder) syntax(err error) {
	var y yaml.Error
	if !errors.As(err, &y) {
		d.problem(nil, "this is not YAML")
		return
	}
	p := Problem{File: d.file, Message: "not well-formed YAML: " + y.GetMessage()}
	if strings.Contains(p.Message, "character '\t'") {
		p.Message = "not well-formed YAML: a tab stands where a value begins; indent with spaces"
	}
	if t := y.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	d.problems = append(d.problems, p)
}

// field is one key an object may have and what reads its value.
type field struct {
	name string
	read func(ast.Node)
}

// object reads a mapping. what names it in messages: "vaults[0]". It gives the node of each key that was there.
func (d *decoder) object(n ast.Node, what string, fields ...field) map[string]ast.Node {
	m, ok := mapping(n)
	if !ok {
		d.problem(n, "%s", unusable(n, what+" must be a mapping of keys to values, not "+kindOf(n)))
		return nil
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	seen := make(map[string]ast.Node)
	for _, v := range m {
		key, ok := scalarText(v.Key)
		if !ok {
			d.problem(v.Key, "%s; %s takes the keys %s", unusable(v.Key, "this cannot be a key"), what, strings.Join(names, ", "))
			continue
		}
		i := slices.Index(names, key)
		if i < 0 {
			d.unknownKey(v.Key, key, what, names)
			continue
		}
		if first, twice := seen[key]; twice {
			d.problem(v.Key, "key %q stands twice in %s; the first is in line %d", key, what, first.GetToken().Position.Line)
			continue
		}
		seen[key] = v.Key
		fields[i].read(v.Value)
	}
	return seen
}

func (d *decoder) unknownKey(n ast.Node, key, what string, names []string) {
	if secretKeyName.MatchString(key) {
		d.problem(n, "unknown key %q in %s; %s", clip(key), what, secretsElsewhere)
		return
	}
	d.problem(n, "unknown key %q in %s; the nearest valid key is %q (valid: %s)", clip(key), what, nearest(key, names), strings.Join(names, ", "))
}

// list reads a sequence.
func (d *decoder) list(n ast.Node, what string, read func(i int, n ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.problem(n, "%s", unusable(n, what+" must be a list, not "+kindOf(n)))
		return
	}
	for i, v := range s.Values {
		read(i, v)
	}
}

// text reads a scalar as it is written, whatever type YAML would give it.
func (d *decoder) text(n ast.Node, what string) (string, bool) {
	s, ok := scalarText(n)
	if !ok {
		d.problem(n, "%s", unusable(n, what+" must be a text, not "+kindOf(n)))
	}
	return s, ok
}

// str reads a text; a number or a truth value is refused, so that what looks like one is quoted on purpose.
func (d *decoder) str(n ast.Node, what string) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return d.text(n, what)
	}
	d.problem(n, "%s", unusable(n, what+" must be a text, not "+kindOf(n)))
	return "", false
}

// span reads a span, and reports whether it is one.
func (d *decoder) span(n ast.Node, what string, to *retain.Span) bool {
	s, ok := d.text(n, what)
	if !ok {
		return false
	}
	v, err := retain.Parse(s)
	if err != nil {
		d.problem(n, "%s: %v", what, err)
		return false
	}
	*to = v
	return true
}

func (d *decoder) size(n ast.Node, what string, to *int64) {
	s, ok := d.text(n, what)
	if !ok {
		return
	}
	v, err := ParseSize(s)
	if err != nil {
		d.problem(n, "%s: %v", what, err)
		return
	}
	*to = v
}

func (d *decoder) whole(n ast.Node, what string, least, most int, to *int) {
	i, ok := n.(*ast.IntegerNode)
	v := math.MinInt
	if ok {
		if p, err := strconv.Atoi(i.GetToken().Value); err == nil {
			v = p
		}
	}
	if v < least || v > most {
		d.problem(n, "%s must be a whole number from %d to %d", what, least, most)
		return
	}
	*to = v
}

// choice reads one of a few words.
func (d *decoder) choice(n ast.Node, what string, words ...string) string {
	s, ok := d.text(n, what)
	if !ok {
		return ""
	}
	if !slices.Contains(words, s) {
		d.problem(n, "%s cannot be %q; the nearest valid value is %q (valid: %s)", what, clip(s), nearest(s, words), strings.Join(words, ", "))
		return ""
	}
	return s
}

// truth reads true or false, as they are; nil for anything else.
func (d *decoder) truth(n ast.Node, what string) *bool {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		d.problem(n, "%s", unusable(n, what+" must be true or false, not "+kindOf(n)))
		return nil
	}
	return &b.Value
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// scalarText gives a scalar as it was written; false for what is none.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// unusable explains the YAML that has no place here; otherwise it gives the message it was handed.
func unusable(n ast.Node, otherwise string) string {
	switch n.(type) {
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
		return "anchors and aliases are not taken here; quote a value that starts with * or &"
	case *ast.TagNode:
		return "tags are not taken here; quote a value that starts with !"
	}
	return otherwise
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	}
	return "this"
}

// notUTF8 finds the first byte that is no UTF-8 text, or that no text has.
func notUTF8(text []byte) (line, column int, found bool) {
	line, column = 1, 1
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1, r == 0:
			return line, column, true
		case r == '\n':
			line, column = line+1, 1
		default:
			column++
		}
		text = text[n:]
	}
	return 0, 0, false
}
