// Command warm builds the real servers that the tests run against, so that no test waits for a compiler. It takes the
// programs' names, or none for all that the tests need.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	if err := servers.Warm(ctx, os.Args[1:]...); err != nil {
		fmt.Fprintln(os.Stderr, "warm:", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "test servers are ready after %s\n", time.Since(begin).Round(time.Second))
}
