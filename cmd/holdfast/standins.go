package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
)

// standIn is a variable of the environment that stands in for a flag that was not given.
type standIn struct{ flag, variable string }

// standInTable lists all of them. Each counts for every command that has the flag, and for no other.
func standInTable() []standIn {
	return []standIn{
		{"config", "HOLDFAST_CONFIG"},
		{"vault", "HOLDFAST_VAULT"},
		{"credentials", "HOLDFAST_CREDENTIALS"},
		{"identity", "HOLDFAST_IDENTITY"},
		{"fingerprint", "HOLDFAST_FINGERPRINT"},
	}
}

// standIns fills flags in from the environment, and remembers which. The zero value has no environment and fills none.
type standIns struct {
	env  credentials.Env
	used []standIn
}

// value gives what stands in for a flag; "" where the variable is not set, or set and empty.
func (s *standIns) value(of standIn) string {
	if s.env == nil {
		return ""
	}
	v, _ := s.env(of.variable)
	return v
}

// noSecrets refuses a secret in the place of the name of one. A variable goes to every program that is started from here, into
// the unit's properties, into crash reports: nobody but the vendors' SDKs should have to keep one secret.
func (s *standIns) noSecrets() error {
	for _, in := range standInTable() {
		for _, f := range shownForms() {
			if f.form.MatchString(s.value(in)) {
				return &marked{errSecretShown, fmt.Errorf("%s holds %s. It takes what --%s takes, which is never a secret itself. Every program started from this shell gets a copy: "+
					"take this secret for known to others. Put it into a file of mode 0600, and name the file", in.variable, f.what, in.flag)}
			}
		}
	}
	return nil
}

// fill sets the flags of a command that were not given and that a variable stands in for.
func (s *standIns) fill(cmd *cobra.Command) error {
	for _, in := range standInTable() {
		f, value := cmd.Flags().Lookup(in.flag), s.value(in)
		if f == nil || f.Changed || value == "" {
			continue
		}
		if err := cmd.Flags().Set(in.flag, value); err != nil {
			return fmt.Errorf("%s, which stands in for --%s: %w", in.variable, in.flag, err)
		}
		s.used = append(s.used, in)
	}
	return nil
}

// forPlace is ref for a vault at that place. A directory takes no credentials, and those that the environment has for other
// vaults are no reason to refuse it.
func (s *standIns) forPlace(at location.Location, ref credentials.Ref) credentials.Ref {
	if at.Local() && slices.ContainsFunc(s.used, func(in standIn) bool { return in.flag == "credentials" }) {
		return credentials.Ref{}
	}
	return ref
}

// tell says where values came from, to those who asked for more.
func (s *standIns) tell(u *ui) {
	for _, in := range s.used {
		u.detail("--%s %s is from %s.", in.flag, safe(s.value(in)), in.variable)
	}
}

// behind names the variables behind the flags that an error speaks of: who never typed --credentials must learn where it is from.
func (s *standIns) behind(err error) []string {
	var out []string
	for _, in := range s.used {
		if text := err.Error(); strings.Contains(text, "--"+in.flag) || strings.Contains(text, s.value(in)) {
			out = append(out, fmt.Sprintf("--%s was not given: %s stands in for it; a flag goes before the variable", in.flag, in.variable))
		}
	}
	return slices.Compact(out)
}
