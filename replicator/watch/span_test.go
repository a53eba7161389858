package watch

import (
	"testing"
	"time"
)

// An age beyond what is allowed never reads as if it were allowed.
func TestBeyond(t *testing.T) {
	const most = 26 * time.Hour
	for age, want := range map[time.Duration]string{
		27 * time.Hour: "27h0m0s", most + 29*time.Second: "26h0m0s and 29s", most + time.Millisecond: "26h0m0s and 1s", most + time.Minute: "26h1m0s",
	} {
		if got := beyond(age, most); got != want {
			t.Errorf("%s: %q, want %q", age, got, want)
		}
	}
}
