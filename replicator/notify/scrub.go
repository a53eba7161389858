package notify

import "regexp"

// Forms of secrets that stand in texts whatever is known of the secret itself.
var (
	userInfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/?#\s@]+@`)
	// A signed URL: what follows the names of its signature, and of whatever else is called a secret.
	signature = regexp.MustCompile(`(?i)([?&](?:[a-z0-9_.-]*(?:secret|passw|token|signature|credential|access_?key|api_?key)[a-z0-9_.-]*|sig|key|auth)=)[^&\s"'<>]+`)
	// Headers, as libraries print them.
	header = regexp.MustCompile(`(?i)\b(authorization|x-amz-security-token|cookie)("?\s*[:=]\s*"?)[^\r\n"]+`)
	ageKey = regexp.MustCompile(`(?i)AGE-(SECRET-KEY|PLUGIN)-[A-Z0-9-]{8,}`)
	pemKey = regexp.MustCompile(`(?is)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
	awsKey = regexp.MustCompile(`\b(AKIA|ASIA)[A-Z2-7]{16}[:,/ ][A-Za-z0-9/+=]{30,}`)
)

const hiddenText = "[hidden]"

// Scrub takes out of a text what has the form of a secret: user info and signatures in URLs, keys, authorization headers.
func Scrub(s string) string {
	s = userInfo.ReplaceAllString(s, "${1}"+hiddenText+"@")
	s = signature.ReplaceAllString(s, "${1}"+hiddenText)
	s = header.ReplaceAllString(s, "${1}${2}"+hiddenText)
	for _, form := range []*regexp.Regexp{ageKey, pemKey, awsKey} {
		s = form.ReplaceAllString(s, hiddenText)
	}
	return s
}
