// Command bars is a probe.
package main

import "github.com/holdfast-backup/holdfast/store/storetest/servers"

func main() { println(servers.Region) }
