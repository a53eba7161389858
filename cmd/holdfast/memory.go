package main

import (
	"os"
	"runtime/debug"
)

// limitMemory tells the garbage collector to work harder before limits.memory is reached. The resident size is more than
// what the collector counts (the program itself, what was freed and not handed back yet), so its share is an eighth less. A
// GOMEMLIMIT that is set stays: whoever set it has a reason.
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes / 8 * 7)
	}
}
