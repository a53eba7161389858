package drill

import (
	"bytes"
	"fmt"
	"html"
	"strconv"
	"time"
)

// page is the report for people: one page that needs nothing else.
func page(r *Report) []byte {
	var b bytes.Buffer
	p := func(format string, args ...string) {
		escaped := make([]any, len(args))
		for i, a := range args {
			escaped[i] = html.EscapeString(a)
		}
		_, _ = fmt.Fprintf(&b, format, escaped...) // a buffer takes everything
	}
	p("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Drill %s</title>\n", r.ID)
	p("<style>body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;width:100%%}" +
		"td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left;vertical-align:top}code{font-size:.85em;overflow-wrap:anywhere}" +
		".critical{background:#fbb}.warning{background:#fe9}.not{background:#eee}</style></head><body>\n")
	p("<h1>Drill of vault %s: %s</h1>\n", r.Vault, string(r.Status))
	p("<p>The vault <code>%s</code> was attacked with the key that the job writes with, on canaries under <code>%s</code>, from %s to %s by the vault's own clock. "+
		"Below is what was asked and what it answered; request IDs are the vendor's.</p>\n", r.URL, r.Canaries, r.Began.Format(time.RFC3339), r.Ended.Format(time.RFC3339))
	p("<p>Made by %s, drill %s. This report lies in the vault under lock.</p>\n", r.Program, r.ID)
	p("<table><tr><th>attack</th><th>outcome</th><th>seen</th></tr>\n")
	for _, a := range r.Attacks {
		class, _, _ := bytes.Cut([]byte(a.Severity), []byte(" "))
		p("<tr class=\"%s\"><td>%s</td><td>%s</td><td>%s", string(class), a.Check, a.Severity, a.Seen)
		if a.Mend != "" {
			p("<br><b>To mend it:</b> %s", a.Mend)
		}
		for _, e := range a.Evidence {
			p("<br><code>%s &rarr; ", e.Request)
			if e.Error != "" {
				p("no answer: %s", e.Error)
			} else {
				p("%s %s %s; request %s, %s", strconv.Itoa(e.Status), e.Code, e.Message, e.RequestID, e.Time)
			}
			p("</code>")
		}
		p("</td></tr>\n")
	}
	p("</table></body></html>\n")
	return b.Bytes()
}
