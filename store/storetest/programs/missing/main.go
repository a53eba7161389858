// Command missing names the programs that tests run and that are not installed here, a line each: its name, its package,
// and what is left out without it.
package main

import (
	"fmt"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

func main() {
	for _, p := range programs.All() {
		if _, err := programs.Find(p.Name); err != nil {
			fmt.Printf("%s\t%s\t%s\n", p.Name, p.Package, p.Serves)
		}
	}
}
