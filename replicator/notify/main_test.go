package notify

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: nothing of what is sent goes on when the call has ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
