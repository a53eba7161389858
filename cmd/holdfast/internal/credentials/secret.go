package credentials

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// Secret says where one secret text lies, such as the secret of a webhook. It holds no secret.
type Secret struct{ ref Ref }

const secretForms = "env:NAME, file:PATH or systemd:NAME"

// ParseSecret reads env:NAME, file:PATH or systemd:NAME. Its errors do not repeat what stood there: it may be the secret itself.
func ParseSecret(s string) (Secret, error) {
	r, err := parse(s, secretForms)
	switch {
	case err == nil && r.scheme == schemeEnv, err == nil && r.scheme == schemeSystemd, err == nil && r.scheme == schemeFile && r.profile == "":
		return Secret{r}, nil
	}
	return Secret{}, errors.New("names where a secret lies, and is not the secret; write " + secretForms)
}

// IsZero reports whether s names nothing.
func (s Secret) IsZero() bool { return s.ref.IsZero() }

// String is the reference as it was written.
func (s Secret) String() string { return s.ref.String() }

// Read gives the secret: the variable's value, or what the file holds without the space around it. dir is what a relative file:
// path is relative to.
func (s Secret) Read(dir string, env Env) ([]byte, error) {
	var text string
	switch s.ref.scheme {
	case schemeEnv:
		text, _ = env(s.ref.name)
	default:
		b, err := s.file(dir, env)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if text = strings.TrimSpace(text); text == "" {
		return nil, fmt.Errorf("%w: %s is not set, or empty", ErrUnset, s)
	}
	return []byte(text), nil
}

// Login gives a user and a password: of env:PREFIX the variables PREFIX_USERNAME and PREFIX_PASSWORD, of a file its lines
// `username = ..` and `password = ..`.
func (s Secret) Login(dir string, env Env) (user, password string, err error) {
	if s.ref.scheme == schemeEnv {
		user, _ = env(s.ref.name + "_USERNAME")
		password, _ = env(s.ref.name + "_PASSWORD")
		if user == "" || password == "" {
			return "", "", fmt.Errorf("%w: %s needs the variables %s_USERNAME and %s_PASSWORD", ErrUnset, s, s.ref.name, s.ref.name)
		}
		return user, password, nil
	}
	text, err := s.file(dir, env)
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "username":
			user = strings.TrimSpace(value)
		case "password":
			password = strings.TrimSpace(value)
		}
	}
	if user == "" || password == "" {
		return "", "", fmt.Errorf("%w: %s needs a line `username = ..` and a line `password = ..`", ErrUnset, s)
	}
	return user, password, nil
}

func (s Secret) file(dir string, env Env) ([]byte, error) {
	path := s.ref.name
	switch {
	case s.ref.scheme == schemeSystemd:
		base, _ := env("CREDENTIALS_DIRECTORY")
		if base == "" {
			return nil, fmt.Errorf("%w: %s needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=%s:PATH", ErrUnset, s, path)
		}
		path = filepath.Join(base, path)
	case !filepath.IsAbs(path):
		path = filepath.Join(dir, path)
	}
	text, err := keys.ReadSecretFile(path, maxFile)
	if err != nil && !errors.Is(err, keys.ErrFileMode) {
		return nil, fmt.Errorf("%w: %w", ErrUnset, err)
	}
	return text, err
}
