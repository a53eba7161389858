package credentials

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// scheme is the part of a reference before its colon.
type scheme string

const (
	schemeEnv     scheme = "env"
	schemeProfile scheme = "profile"
	schemeFile    scheme = "file"
	schemeSystemd scheme = "systemd"
	schemeDefault scheme = "default"
)

// Ref says where credentials lie. It holds no secret.
type Ref struct {
	scheme  scheme
	name    string // the prefix, profile, path or credential
	profile string // of a file
}

var (
	envForm     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`) })
	profileForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@/+ -]{0,99}$`) })
	systemdForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,254}$`) })
)

const (
	namedForms = "env:PREFIX, profile:NAME, file:PATH, file:PATH#PROFILE or systemd:NAME"
	forms      = "env:PREFIX, profile:NAME, file:PATH, file:PATH#PROFILE, systemd:NAME or default"
)

// Parse reads a reference. Its errors do not repeat what stood there: it may be the secret itself, pasted in the wrong place.
func Parse(s string) (Ref, error) { return parse(s, forms) }

// ParseVault reads a vault's reference: its errors do not offer default, which is for sources. That it is not default is
// for the caller to check, who knows what to say.
func ParseVault(s string) (Ref, error) { return parse(s, namedForms) }

func parse(s, forms string) (Ref, error) {
	if s == string(schemeDefault) {
		return Ref{scheme: schemeDefault}, nil
	}
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Ref{}, errors.New("credentials are named, not given; write " + forms)
	}
	r := Ref{scheme: scheme(kind), name: rest}
	switch r.scheme {
	case schemeEnv:
		if !envForm().MatchString(rest) {
			return Ref{}, errors.New("env: takes the beginning of variable names, such as env:HOLDFAST_VAULT for HOLDFAST_VAULT_ACCESS_KEY_ID")
		}
	case schemeProfile:
		if !profileForm().MatchString(rest) {
			return Ref{}, errors.New("profile: takes the name of a profile of ~/.aws/config or ~/.aws/credentials")
		}
	case schemeFile:
		r.name, r.profile, ok = strings.Cut(rest, "#")
		if r.name == "" || ok && !profileForm().MatchString(r.profile) {
			return Ref{}, errors.New("file: takes a path, and the name of a profile in it after #")
		}
	case schemeSystemd:
		if !systemdForm().MatchString(rest) {
			return Ref{}, errors.New("systemd: takes the name of a credential, as in LoadCredential=NAME:PATH of the unit")
		}
	default:
		return Ref{}, errors.New("unknown kind of credentials; write " + forms)
	}
	return r, nil
}

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r.scheme == "" }

// IsDefault reports whether r is the SDK's chain, which only sources may use.
func (r Ref) IsDefault() bool { return r.scheme == schemeDefault }

// String is the reference as it was written.
func (r Ref) String() string {
	switch {
	case r.IsZero():
		return ""
	case r.IsDefault():
		return string(r.scheme)
	case r.profile != "":
		return fmt.Sprintf("%s:%s#%s", r.scheme, r.name, r.profile)
	}
	return fmt.Sprintf("%s:%s", r.scheme, r.name)
}
