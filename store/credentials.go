package store

import (
	"context"
	"time"
)

// Credentials are what an S3 request is signed with. They are resolved by cmd from an environment prefix, a profile, a
// file or a systemd credential, and are never printed: String and GoString show the access key ID only.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time // zero: they do not expire
}

// String keeps secrets out of logs and errors.
func (c Credentials) String() string { return "access key " + c.AccessKeyID }

// GoString keeps secrets out of %#v.
func (c Credentials) GoString() string { return "store.Credentials{" + c.AccessKeyID + "}" }

// CredentialsFunc gives current credentials; it is called again when they are about to expire.
type CredentialsFunc func(ctx context.Context) (Credentials, error)
