package config

import (
	"time"

	"github.com/goccy/go-yaml/ast"
)

// readVerify reads within what time everything has to be read again.
func readVerify(r *reader, n ast.Node) {
	every := &r.config.VerifyEvery
	r.object(n, "verify", field{"every", func(n ast.Node) {
		if r.span(n, "verify.every", every) && every.Months == 0 && every.Duration < 24*time.Hour {
			r.problem(n, "verify.every is a time of a day or more, such as 30d; leave it out if nothing is asked for")
		}
	}})
}
