// Package fixed gives tests credentials that stay as they are. The program never has such: it reads its own again when they are refused.
package fixed

import (
	"context"

	"github.com/holdfast-backup/holdfast/store"
)

// Credentials gives the same ones for ever.
func Credentials(c store.Credentials) store.CredentialsFunc {
	return func(context.Context) (store.Credentials, error) { return c, nil }
}
