// Package faultstest makes every call of a run, a verification and a restore fail in turn, in each of the ways of package
// faults, and holds what comes of it to the one rule: exactly the right result, or a clear error and no recovery point;
// and after the fault the next run comes through. It has tests only, and nothing may import it.
//
//	go test ./replicator/faultstest               a sample of the cases
//	go test ./replicator/faultstest -every 1      every call times every way, once and for good: minutes
package faultstest
