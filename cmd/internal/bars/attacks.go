package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

const (
	attackTests = "./replicator/attacktest"
	backAgain   = "/primary/all_points_come_back"
)

// attacks runs the attack suite with the numbers it is told with, and the listing of points among junk.
func attacks(ctx context.Context, w *world) error {
	r, err := runTests(ctx, attackTests, "TestAttacks|TestHostileVault|TestKeysAndNames|TestTable|TestJunkOnARealServer|TestFloodOfPoints", "-full")
	if err != nil {
		return err
	}
	for _, kind := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		w.attacked(r, kind)
		w.flooded(r, kind)
	}
	w.bar(r.passed("TestHostileVault"), "on both servers: whoever controls one of two vaults, with its content and its times, costs the other nothing, and what he withholds is named")
	w.bar(r.passed("TestKeysAndNames"), "on both servers: changes of keys, points, names and bytes made to do harm come out as the table says")
	w.bar(r.passed("TestTable"), "the table in docs/threat-model.md has each of them, and no other")
	f := r.figures["TestFloodOfPoints"]
	w.bar(r.passed("TestFloodOfPoints") && f["names"] >= 1e6, "%.0f names of junk with a signature's form (at least a million): one listing, no object read for them, memory grew by %.0f MiB (at most 64)", f["names"], f["grown"])
	gap := 1e6 / max(f["pace"], 1) // µs between two names
	w.bar(f["listed"] > 0 && f["cpu"] <= 0.8*gap*float64(runtime.NumCPU()), "checking a name takes %.0f µs of CPU, and a vendor's listing gives one every %.0f µs (%.0f a second, serially): it keeps up with %.0f %% of this machine's %d processors (at most 80 %%)",
		f["cpu"], gap, f["pace"], 100*f["cpu"]/gap/float64(runtime.NumCPU()), runtime.NumCPU())
	over := f["points"] / max(f["listed"], 1e-9)
	w.bar(f["listed"] > 0 && over <= 1.2, "the listing of points among them took %.1f s, the listing alone %.1f s: %.2f times that (at most 1.2)", f["points"], f["listed"], over)
	return nil
}

// attacked says what the attacks on one server came to.
func (w *world) attacked(r *tested, kind servers.Kind) {
	root := "TestAttacks/" + string(kind)
	series := func(under, who string, least int) {
		all, passed := r.leaves(root + "/" + under)
		if back := root + backAgain; slices.Contains(all, back) { // no attack
			all = slices.DeleteFunc(all, func(name string) bool { return name == back })
			if r.passed(back) {
				passed--
			}
		}
		bar := ""
		if least > 0 {
			bar = fmt.Sprintf(" (at least %d)", least)
		}
		w.bar(len(all) >= least && len(all) > 0 && passed == len(all), "%s: %d attacks %s%s, %d as they had to come out", kind, len(all), who, bar, passed)
	}
	series("writer", "with the vault writer's key", 40)
	series("hiding", "with a key that may also hide", 0)
	series("admin", "by the vault's administrator", 0)
	series("stolen", "with the writer's key and the host key", 0)
	series("primary", "by the primary's administrator", 10)
	f := r.figures[root+"/after_the_theft"]
	w.bar(r.passed(root+"/after") && r.passed(root+"/after_the_theft") && r.passed(root+backAgain) && f["points"] > 0,
		"%s: after all of them together %.0f of %.0f points from before came back byte for byte, into a directory or a bucket: %.0f entries compared", kind, f["restored"], f["points"], f["entries"])
	w.bar(f["tampered"] > 0 && f["named"] >= f["tampered"], "%s: verify named %.0f of %.0f objects of ours that something was put upon or beside", kind, min(f["named"], f["tampered"]), f["tampered"])
}

// flooded says what junk on one server does to the listing of points.
func (w *world) flooded(r *tested, kind servers.Kind) {
	test := "TestJunkOnARealServer/" + string(kind)
	f := r.figures[test]
	took := func(name string) time.Duration {
		return time.Duration(f[name] * float64(time.Millisecond)).Round(time.Millisecond)
	}
	w.bar(r.passed(test) && f["junk"] >= 10_000, "%s: among %.0f junk objects (at least 10,000) points takes %.0f requests, %.0f without them and %.0f pages of the listing; restore, verify and runs work",
		kind, f["junk"], f["requests"], f["clean_requests"], f["pages"])
	over := (f["points"] - f["clean"]) / f["listing"]
	w.bar(f["listing"] > 0 && over <= 1.5, "%s: points takes %v among them, %v without; the bare listing of the same prefixes takes %v: %.2f times that (at most 1.5)",
		kind, took("points"), took("clean"), took("listing"), over)
}
