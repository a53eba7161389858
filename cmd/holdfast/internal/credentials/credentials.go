// Package credentials resolves where credentials lie (env:, profile:, file:, systemd:, default) to the credentials.
//
// It is the only place that reads them, and it must never print one: its errors name variables, files and lines, not
// what stands in them. It keeps nothing; what comes out goes to a driver.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
)

// ErrUnset: what a reference names is not there or not whole.
var ErrUnset = errors.New("credentials not found")

// Env looks a variable up; os.LookupEnv outside tests.
type Env func(name string) (string, bool)

// Resolve gives the function that fetches r's credentials. dir is what a relative file: path is relative to. Nothing is
// read before the function is called; it reads anew at every call, so that credentials changed on disk are taken up.
func Resolve(r Ref, dir string, env Env) (store.CredentialsFunc, error) {
	switch r.scheme {
	case schemeEnv:
		return func(context.Context) (store.Credentials, error) { return fromEnv(r.name, env) }, nil
	case schemeFile:
		path := r.name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return func(context.Context) (store.Credentials, error) { return fromFile(path, r.profile) }, nil
	case schemeSystemd:
		return func(context.Context) (store.Credentials, error) { return fromSystemd(r.name, env) }, nil
	case schemeProfile:
		return fromSDK(r, config.WithSharedConfigProfile(r.name)), nil
	case schemeDefault:
		return fromSDK(r), nil
	}
	return nil, fmt.Errorf("%w: no reference given; write %s", ErrUnset, forms)
}

// Check looks without a network whether what r names is there: the variables, the file, the profile in AWS's shared files. What a
// profile leads to (SSO, a role) is not asked, nor anything of default.
func Check(ctx context.Context, r Ref, dir string, env Env) error {
	switch r.scheme {
	case schemeDefault:
		return nil
	case schemeProfile:
		_, err := config.LoadSharedConfigProfile(ctx, r.name, func(o *config.LoadSharedConfigOptions) {
			o.Logger = logging.Nop{}
			if f, _ := env("AWS_CONFIG_FILE"); f != "" {
				o.ConfigFiles = []string{f}
			}
			if f, _ := env("AWS_SHARED_CREDENTIALS_FILE"); f != "" {
				o.CredentialsFiles = []string{f}
			}
		})
		if err != nil {
			return fmt.Errorf("%w: %s: %w; check it with: %s", ErrUnset, r, err, awsCheck(r))
		}
		return nil
	}
	get, err := Resolve(r, dir, env)
	if err == nil {
		_, err = get(ctx)
	}
	return err
}

// Offline reports whether the access key of r is known without asking anybody.
func (r Ref) Offline() bool {
	return r.scheme == schemeEnv || r.scheme == schemeFile || r.scheme == schemeSystemd
}

// SameAccessKey reports whether both give the same access key: then one stolen key opens what two were to keep apart.
func SameAccessKey(ctx context.Context, a, b store.CredentialsFunc) (bool, error) {
	ca, err := a(ctx)
	if err != nil {
		return false, err
	}
	cb, err := b(ctx)
	if err != nil {
		return false, err
	}
	return ca.AccessKeyID == cb.AccessKeyID, nil
}

func fromEnv(prefix string, env Env) (store.Credentials, error) {
	idName, secretName := prefix+"_ACCESS_KEY_ID", prefix+"_SECRET_ACCESS_KEY"
	id, _ := env(idName)
	secret, _ := env(secretName)
	token, _ := env(prefix + "_SESSION_TOKEN")
	switch {
	case id == "" && secret == "":
		return store.Credentials{}, fmt.Errorf("%w: env:%s needs the variables %s and %s; neither is set", ErrUnset, prefix, idName, secretName)
	case id == "":
		return store.Credentials{}, fmt.Errorf("%w: %s is set and %s is not", ErrUnset, secretName, idName)
	case secret == "":
		return store.Credentials{}, fmt.Errorf("%w: %s is set and %s is not", ErrUnset, idName, secretName)
	}
	return checked(store.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, "env:"+prefix)
}

func fromSystemd(name string, env Env) (store.Credentials, error) {
	dir, _ := env("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return store.Credentials{}, fmt.Errorf("%w: systemd:%s needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=%s:PATH", ErrUnset, name, name)
	}
	return fromFile(filepath.Join(dir, name), "")
}

// fromSDK asks the AWS SDK: shared files, SSO, role chains, and for default the environment and the instance's role too.
func fromSDK(r Ref, options ...func(*config.LoadOptions) error) store.CredentialsFunc {
	// The SDK would write its own lines to standard error; what matters of them is in the error.
	options = append(options, config.WithLogger(logging.Nop{}))
	return func(ctx context.Context) (store.Credentials, error) {
		cfg, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return store.Credentials{}, fmt.Errorf("%w: %s: %w", ErrUnset, r, err)
		}
		c, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			return store.Credentials{}, fmt.Errorf("%w: %s: %w; check it with: %s", ErrUnset, r, err, awsCheck(r))
		}
		out := store.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
		if c.CanExpire {
			out.Expires = c.Expires
		}
		return checked(out, r.String())
	}
}

func awsCheck(r Ref) string {
	if r.IsDefault() {
		return "aws sts get-caller-identity"
	}
	return "aws sts get-caller-identity --profile " + r.name
}

const maxFile = 64 << 10

func fromFile(path, profile string) (store.Credentials, error) {
	text, err := keys.ReadSecretFile(path, maxFile)
	if err != nil {
		if errors.Is(err, keys.ErrFileMode) {
			return store.Credentials{}, err // it is there, and says for itself what is wrong
		}
		return store.Credentials{}, fmt.Errorf("%w: %w", ErrUnset, err)
	}
	c, err := parseShared(text, profile)
	if err != nil {
		return store.Credentials{}, fmt.Errorf("%w: %s: %w", ErrUnset, path, err)
	}
	return checked(c, path)
}

// checked refuses what cannot be a key: a line end or a space that came along would only show as a wrong signature.
func checked(c store.Credentials, where string) (store.Credentials, error) {
	for what, s := range map[string]string{"access key": c.AccessKeyID, "secret key": c.SecretAccessKey, "session token": c.SessionToken} {
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' {
				return store.Credentials{}, fmt.Errorf("%w: the %s of %s has a space, a line end or another character that no key has", ErrUnset, what, where)
			}
		}
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return store.Credentials{}, fmt.Errorf("%w: %s gives no access key", ErrUnset, where)
	}
	return c, nil
}
