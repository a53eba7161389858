package config

import (
	"math"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// secretForms are texts that are secrets whatever they stand under. What they match is never repeated in a message.
var secretForms = []struct {
	form *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`(?i)AGE-SECRET-KEY-`), "a secret age key; recipients are the public halves and start with age1"},
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`), "a private key"},
	{regexp.MustCompile(`holdfast-host-key-[0-9]`), "a host key; keys.host names the file it lies in"},
	{regexp.MustCompile(`holdfast-reporter-key-[0-9]`), "a reporter's key; keys.reporter names the file it lies in"},
	{regexp.MustCompile(`\b(AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b`), "an AWS access key"},
	{regexp.MustCompile(`\bK00[0-9][A-Za-z0-9/+]{27}\b`), "a Backblaze application key"},
	{regexp.MustCompile(`://[^/?#\s]*:[^/?#\s]*@`), "a URL with a password in it"},
	{regexp.MustCompile(`(?i)[?&](x-amz-(signature|credential|security-token)|aws_?secret|secret|password|passwd|token)[a-z_-]*=`), "a URL with a signature or a password in it"},
	{regexp.MustCompile(`(?i)\b(gh[pousr]_[a-z0-9]{30,}|xox[bp]-[a-z0-9-]{20,})`), "an access token"},
}

var secretKeyName = regexp.MustCompile(`(?i)(secret|passw|passphrase|token|private|access_?key|api_?key|application_?key)`)

const secretsElsewhere = "no secret may stand in this file; put it into the environment, a file of mode 0600, a profile or a systemd credential," +
	" and name that: credentials: env:PREFIX, file:PATH, profile:NAME or systemd:NAME"

// receiversElsewhere is secretsElsewhere for what is told: there the URL itself may be the secret.
const receiversElsewhere = "no secret may stand in this file; put it into the environment, a file of mode 0600 or a systemd credential, and name that:" +
	" url: env:NAME, url: file:PATH or url: systemd:NAME for a webhook or a ping, secret: likewise, and credentials: env:PREFIX for mail"

// findSecrets looks at every scalar of the file, keys too, before anything else does: no later message can then repeat one.
func findSecrets(d *decoder, n ast.Node) { findSecretsIn(d, n, secretsElsewhere) }

func findSecretsIn(d *decoder, n ast.Node, elsewhere string) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			findSecretsIn(d, v, elsewhere)
		}
	case *ast.MappingValueNode:
		findSecretsIn(d, n.Key, elsewhere)
		if key, ok := scalarText(n.Key); ok && key == "notify" {
			elsewhere = receiversElsewhere
		}
		findSecretsIn(d, n.Value, elsewhere)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			findSecretsIn(d, v, elsewhere)
		}
	case *ast.TagNode:
		findSecretsIn(d, n.Value, elsewhere)
	case *ast.AnchorNode:
		findSecretsIn(d, n.Value, elsewhere)
	default:
		if text, ok := scalarText(n); ok {
			if what := secretIn(text); what != "" {
				d.problem(n, "this looks like %s; %s", what, elsewhere)
			}
		}
	}
}

// secretIn says what kind of secret text holds; empty for none.
func secretIn(text string) string {
	for _, s := range secretForms {
		if s.form.MatchString(text) {
			return s.what
		}
	}
	if looksRandom(text) {
		return "a secret access key"
	}
	return ""
}

var randomForm = regexp.MustCompile(`^[A-Za-z0-9/+]{40}={0,2}$`)

// looksRandom finds the secret half of S3 keys: 40 characters of base64 with the entropy of chance, which words and paths
// do not reach.
func looksRandom(s string) bool {
	if !randomForm.MatchString(s) || !strings.ContainsAny(s, "0123456789") ||
		s == strings.ToLower(s) || s == strings.ToUpper(s) {
		return false
	}
	var count [256]int
	for i := range len(s) {
		count[s[i]]++
	}
	bits := 0.0
	for _, c := range count {
		if c > 0 {
			p := float64(c) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits > 4.3
}
