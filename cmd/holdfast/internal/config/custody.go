package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxCustody bounds the keepers: they stand on one sheet.
const maxCustody = 12

// readCustody reads who keeps which key. Names are free; restore-1 and so on are the restore keys in the order of keys.recipients.
func readCustody(r *reader, n ast.Node) {
	entries, ok := mapping(n)
	if !ok {
		r.problem(n, "%s", unusable(n, `custody must be a mapping of names to places, such as restore-1: "safe A", not `+kindOf(n)))
		return
	}
	if len(entries) > maxCustody {
		r.problem(n, "custody has %d entries; at most %d", len(entries), maxCustody)
		return
	}
	out := map[string]string{}
	for _, v := range entries {
		name, _ := scalarText(v.Key)
		where, ok := r.text(v.Value, "custody."+clip(name))
		switch {
		case !format.ValidName(name):
			r.problem(v.Key, "custody: a name cannot be %q; it takes lower-case letters, digits, - and _, at most 40: restore-1 is the first of keys.recipients", clip(name))
		case !ok:
		case strings.TrimSpace(where) == "" || len(where) > 120:
			r.problem(v.Value, "custody.%s says where that key is kept, in at most 120 bytes", name)
		case out[name] != "":
			r.problem(v.Key, "custody names %q twice", name)
		default:
			out[name] = where
		}
	}
	r.config.Custody = out
}
