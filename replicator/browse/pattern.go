package browse

import (
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/glob"
)

// Pattern is what Find looks for: a bare name, which is the last segment of a key in whatever folder, or a glob against the whole key.
type Pattern struct {
	name string // bare
	glob glob.Glob
}

// ParsePattern reads a pattern. A text without a slash and without any sign of a glob is a bare name. Its errors are those of glob.Parse.
func ParsePattern(text string) (Pattern, error) {
	if text != "" && !strings.ContainsAny(text, `/*?[\`) {
		return Pattern{name: text}, nil
	}
	g, err := glob.Parse(text)
	return Pattern{glob: g}, err
}

// Match reports whether a key is meant. A folder's key ends in a slash, and its name does not.
func (p Pattern) Match(key string) bool {
	if p.name == "" {
		return p.glob.Match(key)
	}
	key = strings.TrimSuffix(key, "/")
	return key[strings.LastIndexByte(key, '/')+1:] == p.name
}

// Bare reports whether it is a bare name.
func (p Pattern) Bare() bool { return p.name != "" }

// String gives the pattern as it was parsed.
func (p Pattern) String() string {
	if p.name != "" {
		return p.name
	}
	return p.glob.String()
}

// prefix is what every key that matches begins with. "**/" may match nothing, but it is no literal.
func (p Pattern) prefix() string {
	if p.name != "" {
		return ""
	}
	text := p.glob.String()
	if i := strings.IndexAny(text, `*?[\`); i >= 0 {
		return text[:i]
	}
	return text
}
