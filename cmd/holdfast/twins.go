package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// replaced is how the encoder writes a byte that is no UTF-8. A character U+FFFD of the text itself is written as it is.
var replaced = []byte(`\ufffd`)

// addTwins gives every text of an output line that is not UTF-8 a twin: NAME_b64 holds its bytes in base64, beside NAME,
// which is then only near to what it is. line is v as the encoder wrote it. Texts may come from anybody: keys, headers,
// names of users, version IDs, what a server answered.
func addTwins(line []byte, v any) ([]byte, error) {
	if !bytes.Contains(line, replaced) {
		return line, nil
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var object any
	if err := d.Decode(&object); err != nil {
		return nil, err
	}
	twins(object, reflect.ValueOf(v))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// twins walks a value beside what was decoded from its JSON.
func twins(to any, v reflect.Value) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		if object, ok := to.(map[string]any); ok {
			twinsOfStruct(object, v)
		}
	case reflect.Map:
		object, ok := to.(map[string]any)
		if texts, is := v.Interface().(map[string]string); ok && is {
			for name, text := range texts {
				twinOf(object, name, text)
			}
		}
	case reflect.Slice:
		list, ok := to.([]any)
		for i := 0; ok && i < v.Len() && i < len(list); i++ {
			twins(list[i], v.Index(i))
		}
	}
}

func twinsOfStruct(object map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" {
			twins(object, v.Field(i))
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		at, there := object[name]
		if !there || !f.IsExported() {
			continue
		}
		switch x := v.Field(i); {
		case x.Kind() == reflect.String:
			twinOf(object, name, x.String())
		case x.Type() == reflect.TypeFor[[]string]():
			if list := x.Interface().([]string); slices.ContainsFunc(list, func(s string) bool { return !utf8.ValidString(s) }) {
				object[name+"_b64"] = encoded(list)
			}
		default:
			twins(at, x)
		}
	}
}

func twinOf(object map[string]any, name, text string) {
	if _, has := object[name+"_b64"]; !has && !utf8.ValidString(text) {
		object[name+"_b64"] = base64.StdEncoding.EncodeToString([]byte(text))
	}
}

// encoded gives every text of a list in base64, so that both lists have the same places.
func encoded(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	return out
}
