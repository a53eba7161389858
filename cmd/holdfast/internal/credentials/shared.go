package credentials

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store"
)

// parseShared reads AWS shared-credentials form: [profile] headers, name = value lines, # and ; comments. profile ""
// means [default], or the only profile of a file that has one. The SDK's own reader is not used: its errors quote lines.
func parseShared(text []byte, profile string) (store.Credentials, error) {
	found := map[string]*store.Credentials{}
	var order []string
	var current *store.Credentials
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, ok = strings.CutSuffix(name, "]")
			name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "profile "))
			if !ok || !profileForm().MatchString(name) {
				return store.Credentials{}, fmt.Errorf("line %d is not a profile's header such as [default]", n)
			}
			if found[name] != nil {
				return store.Credentials{}, fmt.Errorf("line %d: a second profile of the same name", n)
			}
			current = &store.Credentials{}
			found[name], order = current, append(order, name)
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return store.Credentials{}, fmt.Errorf("line %d is neither a comment, nor [profile], nor name = value", n)
		}
		if current == nil {
			return store.Credentials{}, fmt.Errorf("line %d stands before the first [profile]; put [default] above it", n)
		}
		set(current, strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return pick(found, order, profile)
}

// set takes the three keys that make credentials; the others of the form (region, output) mean nothing here.
func set(c *store.Credentials, name, value string) {
	switch strings.ToLower(name) {
	case "aws_access_key_id":
		c.AccessKeyID = value
	case "aws_secret_access_key":
		c.SecretAccessKey = value
	case "aws_session_token":
		c.SessionToken = value
	}
}

func pick(found map[string]*store.Credentials, order []string, profile string) (store.Credentials, error) {
	if profile == "" {
		profile = "default"
		if len(order) == 1 {
			profile = order[0]
		}
	}
	c := found[profile]
	if c == nil {
		slices.Sort(order)
		return store.Credentials{}, fmt.Errorf("it has no profile [%s]; it has %s; name one with file:PATH#PROFILE", profile, list(order))
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return store.Credentials{}, fmt.Errorf("profile [%s] needs both an aws_access_key_id and an aws_secret_access_key line", profile)
	}
	return *c, nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "[" + strings.Join(names, "], [") + "]"
}
