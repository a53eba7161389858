package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// wrong is what is planted at a vault or with a credential on a real server by one test of many.
type wrong struct {
	test string // whose subtests are one thing that is wrong each
	what string
}

// doctor runs the tests that plant misconfigurations on real servers, one by one, and those of set-ups with nothing to mend.
func doctor(ctx context.Context, w *world) error {
	probed, err := runTests(ctx, "./store/probe", "TestPlanted|TestClean|TestClock|TestFaults|TestRoles|TestBoundOnLocks")
	if err != nil {
		return err
	}
	diagnosed, err := runTests(ctx, "./replicator/doctor", "TestSources|TestApart|TestMachine|TestClean")
	if err != nil {
		return err
	}
	scripts, err := runTests(ctx, "./cmd/holdfast", "TestServers/(doctor|doctor-versitygw|refused)$")
	if err != nil {
		return err
	}
	kinds := map[string]bool{} // of things that are wrong with a vault or its key, whatever the server
	for _, k := range []servers.Kind{servers.KindMinIO, servers.KindVersityGW} {
		vault, found := probed.leaves("TestPlanted/" + string(k))
		for _, name := range vault {
			kinds[name[strings.LastIndex(name, "/")+1:]] = true
		}
		w.bar(len(vault) > 0 && found == len(vault), "%s: %d misconfigurations of a vault or its writer's key planted one by one, %d found by name with nothing else beside it", k, len(vault), found)
		source, seen := under(diagnosed, "TestSources/"+string(k)+"_")
		w.bar(source > 0 && seen == source, "%s: %d of a source's key planted one by one, %d found", k, source, seen)
	}
	w.bar(len(kinds) >= 20, "%d kinds of them at vaults on real servers (at least 20)", len(kinds))
	for _, o := range []wrong{{"TestApart", "things that source and vault can have in common (versitygw)"}, {"TestMachine", "states of the job's machine"}} {
		all, found := diagnosed.leaves(o.test)
		w.bar(len(all) > 0 && found == len(all), "%d %s, %d as they had to be found", len(all), o.what, found)
	}
	faults, found := probed.leaves("TestFaults")
	w.bar(len(faults) > 0 && found == len(faults), "%d faults that no real server can be made to show, on a simulated vault, %d found", len(faults), found)
	w.bar(probed.passed("TestClock"), "a vault's clock that is off is found")
	return nothingToMend(w, probed, diagnosed, scripts)
}

// nothingToMend is what doctor has to say of a server that ignores locks, and of what it prints itself.
func nothingToMend(w *world, probed, diagnosed, scripts *tested) error {
	_, fake := probed.leaves("TestPlanted/" + string(servers.KindGoFakeS3))
	w.bar(fake > 0 && probed.passed("TestPlanted/"+string(servers.KindGoFakeS3)), "gofakes3: it says that locks are ignored")
	clean, passed := probed.leaves("TestClean")
	both, ok := diagnosed.leaves("TestClean")
	w.bar(len(clean) > 0 && len(both) > 0 && passed == len(clean) && ok == len(both),
		"with the policies that `policy` prints there is nothing to mend: %d of %d vaults, %d of %d set-ups of source and vault on two servers, in both directions", passed, len(clean), ok, len(both))
	w.bar(probed.passed("TestRoles") && probed.passed("TestBoundOnLocks"), "each printed policy is enough for its role on MinIO and versitygw, and for no other's; the bound on locks is as its profile says")
	run, fine := scripts.leaves("TestServers")
	w.bar(len(run) > 0 && fine == len(run), "the program itself, by %d scripts on real servers (table, JSON, exit codes): %d passed", len(run), fine)
	if w.missed == 0 {
		fmt.Println("  each was planted alone; the settings of the bucket were compared before and after, and no canary was locked for longer than five minutes")
	}
	return nil
}

// under counts the tests whose names begin so, and those that passed.
func under(t *tested, prefix string) (all, passed int) {
	for name, s := range t.state {
		if strings.HasPrefix(name, prefix) {
			all++
			if s == "pass" {
				passed++
			}
		}
	}
	return all, passed
}
