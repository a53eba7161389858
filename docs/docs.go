// Package docs is what the program carries along of its own documents. It imports nothing, and holds no code that does anything.
package docs

import _ "embed"

// RestoreByHand is restore-by-hand.sh, which restores without the program: age, zstd, jq and a shell do.
//
//go:embed restore-by-hand.sh
var RestoreByHand []byte
