package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Accepted is what may stay without a source, and why.
type Accepted struct {
	URL    string // a glob against the URLs that `holdfast coverage` prints, checked
	Reason string
}

func readUnprotected(r *reader, n ast.Node) {
	r.list(n, "unprotected", func(i int, n ast.Node) {
		what := fmt.Sprintf("unprotected[%d]", i)
		var x Accepted
		seen := r.object(n, what,
			field{"url", func(n ast.Node) {
				if x.URL = r.glob(n, what+".url"); x.URL != "" && !strings.Contains(x.URL, "://") {
					r.problem(n, "%s.url has to be one as `holdfast coverage` prints it, such as s3://scratch or ebs://eu-west-1/vol-0123456789abcdef0", what)
				}
			}},
			field{"reason", func(n ast.Node) {
				if s, ok := r.str(n, what+".reason"); ok {
					if x.Reason = strings.TrimSpace(s); x.Reason == "" {
						r.problem(n, "%s.reason is empty: say why this needs no copy", what)
					}
				}
			}},
		)
		if r.require(n, what, seen, "url", "reason") {
			r.config.Unprotected = append(r.config.Unprotected, x)
		}
	})
}
