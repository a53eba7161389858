package backup_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// fleets is a source with an account around it.
type fleets struct {
	*memsource.Source
	fleet func(context.Context) (source.Fleet, error)
}

type fleetView struct {
	source.View
	of fleets
}

func (f fleets) Freeze(ctx context.Context) (source.View, error) {
	v, err := f.Source.Freeze(ctx)
	return fleetView{v, f}, err
}

func (v fleetView) Fleet(ctx context.Context) (source.Fleet, error) { return v.of.fleet(ctx) }

// TestLookAround: machines where there were none mark the point; what goes wrong in the look is a remark, and costs the run nothing.
func TestLookAround(t *testing.T) {
	g := newGuarded(t)
	here := source.FleetRegion{Name: "here", Machines: []source.Machine{{ID: "i-1", Type: "m7i.large", Tags: []string{"a=b"}}}}
	there := source.FleetRegion{Name: "there"}
	var fail error
	asked := 0
	g.source = fleets{g.src, func(context.Context) (source.Fleet, error) {
		if asked++; errors.Is(fail, errPanics) {
			panic(fail)
		}
		return source.Fleet{Regions: []source.FleetRegion{here, there}, Whole: fail == nil}, fail
	}}
	said := func(text string) bool {
		return slices.ContainsFunc(g.remarks, func(s string) bool { return strings.Contains(s, text) })
	}
	g.expect(false)
	if !said("it learns which machines and key pairs there are in 2 regions") {
		t.Errorf("%q", g.remarks)
	}
	for text, err := range map[string]error{"no regions": errors.New("no regions"), "it failed: it panics": errPanics} {
		fail, g.remarks = err, nil
		if g.expect(false); !said(text) {
			t.Errorf("%q", g.remarks)
		}
	}
	fail, g.remarks = nil, nil
	there.Failed = "no answer in time"
	if g.expect(false); !said("machines in there are not looked at in this run: no answer in time") {
		t.Errorf("%q", g.remarks)
	}
	there.Failed = ""
	g.expect(false)
	there.Machines = []source.Machine{{ID: "i-2", Type: "p4d.24xlarge"}}
	res := g.expect(true, guard.Machines)
	g.acks = backup.Acknowledged{Until: res.SignedAt, Points: map[format.Hash]bool{res.Point: true}}
	g.expect(false)
	g.expect(false)
	if asked != 8 {
		t.Errorf("asked %d times", asked)
	}
}

// TestLookAroundThatWasNotWhole: while nobody knew which regions the account has, machines of one that was not looked at are learnt; after
// that, another region with machines is an alarm.
func TestLookAroundThatWasNotWhole(t *testing.T) {
	g := newGuarded(t)
	of := source.Fleet{Regions: []source.FleetRegion{{Name: "here", Machines: []source.Machine{{ID: "i-1", Type: "m7i.large"}}}}, Denied: []string{"ec2:DescribeRegions"}}
	var fail error
	g.source = fleets{g.src, func(context.Context) (source.Fleet, error) {
		if fail != nil {
			panic(fail)
		}
		return of, nil
	}}
	fail = errPanics
	g.expect(false)
	fail = nil
	g.expect(false)
	g.expect(false)
	of.Denied, of.Whole = nil, true
	of.Regions = append(of.Regions, source.FleetRegion{Name: "there", Machines: []source.Machine{{ID: "i-2", Type: "r7i.large"}}, Keys: []string{"key-2 ops"}})
	g.expect(false)
	g.expect(false)
	of.Regions = append(of.Regions, source.FleetRegion{Name: "yonder", Machines: []source.Machine{{ID: "i-3", Type: "r7i.large"}}})
	g.expect(true, guard.Machines)
}

var errPanics = errors.New("it panics")
