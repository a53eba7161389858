package drill

import (
	"bytes"
	"html/template"
	"strings"
)

// page is the report for people: one page that needs nothing else.
func page(r *Report) []byte {
	t, err := template.New("").Funcs(template.FuncMap{"words": strings.Fields}).Parse(pageText)
	var b bytes.Buffer
	if err == nil {
		err = t.Execute(&b, r)
	}
	if err != nil {
		return []byte(err.Error()) // the text names fields that there are: cannot fail
	}
	return b.Bytes()
}

const pageText = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Drill {{.ID}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;width:100%}` +
	`td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left;vertical-align:top}code{font-size:.85em;overflow-wrap:anywhere}` +
	`.critical{background:#fbb}.warning{background:#fe9}.not{background:#eee}</style></head><body>
<h1>Drill of vault {{.Vault}}: {{.Status}}</h1>
{{- $rfc3339 := "2006-01-02T15:04:05Z07:00"}}
<p>The vault <code>{{.URL}}</code> was attacked with the key that the job writes with, on canaries under <code>{{.Canaries}}</code>, ` +
	`from {{.Began.Format $rfc3339}} to {{.Ended.Format $rfc3339}} by the vault's own clock. ` +
	`Below is what was asked and what it answered; request IDs are the vendor's.</p>
<p>Made by {{.Program}}, drill {{.ID}}. This report lies in the vault under lock.</p>
<table><tr><th>attack</th><th>outcome</th><th>seen</th></tr>
{{range .Attacks -}}
<tr class="{{with words .Severity}}{{index . 0}}{{end}}"><td>{{.Check}}</td><td>{{.Severity}}</td><td>{{.Seen}}
{{- with .Mend}}<br><b>To mend it:</b> {{.}}{{end}}
{{- range .Evidence}}<br><code>{{.Request}} &rarr; {{with .Error}}no answer: {{.}}{{else -}}
	{{.Status}} {{.Code}} {{.Message}}; request {{.RequestID}}, {{.Time}}{{end}}</code>{{end -}}
</td></tr>
{{end}}</table></body></html>
`
