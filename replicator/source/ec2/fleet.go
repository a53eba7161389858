package ec2source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
)

const (
	regionsAtOnce  = 8
	maxRegions     = 64   // looked at; AWS has half as many
	machinesAPage  = 1000 // of a region, which has one page looked at
	regionsInWords = 8
)

// Fleet implements source.Fleets: one request for the regions, and two for each of them. Tags select nothing here: nobody who hijacks an
// account tags his machines as its owner does.
func (v *view) Fleet(ctx context.Context) (source.Fleet, error) {
	f := source.Fleet{}
	names, err := Regions(ctx, v.clients.ec2, v.o.Region)
	f.Whole = err == nil
	if why, ok := refused(err); ok {
		f.Denied, err = append(f.Denied, "ec2:DescribeRegions"), nil
		if why != "access denied" {
			f.Denied = nil
		}
	}
	if err != nil {
		err = awsclient.Explain("ec2 source: list the regions of the account", err)
	}
	all := make([]source.FleetRegion, len(names))
	denied := make([][]string, len(names))
	var g errgroup.Group
	g.SetLimit(regionsAtOnce)
	for i, name := range names {
		g.Go(func() error {
			all[i], denied[i] = v.region(ctx, name)
			return nil
		})
	}
	_ = g.Wait() // none fails: what could not be looked at says so
	f.Regions = all
	f.Denied = append(f.Denied, told(v.o.Region, names, denied)...)
	return f, err
}

// Regions lists those that are open to the account, in order; own alone, with the error, where that cannot be asked.
func Regions(ctx context.Context, client *ec2.Client, own string) ([]string, error) {
	names := []string{own}
	out, err := client.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	if err != nil {
		return names, err
	}
	for _, x := range out.Regions {
		if name := aws.ToString(x.RegionName); name != "" && name != own && len(names) < maxRegions {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// region looks at one. denied are the actions that were refused.
func (v *view) region(ctx context.Context, name string) (r source.FleetRegion, denied []string) {
	r.Name = name
	client := v.clients.ec2
	if name == v.o.Region {
		r.Types, r.Limits = v.groups.kinds(), v.groups.limits
	} else {
		client = v.elsewhere(name)
	}
	fail := func(action string, err error) string {
		if err == nil {
			return ""
		}
		if why, ok := refused(err); ok {
			if why == "access denied" {
				denied = append(denied, action)
			}
			return why
		}
		if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return "no answer in time"
		}
		return awsclient.Explain(action, err).Error()
	}
	out, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{
		MaxResults: aws.Int32(machinesAPage),
		Filters:    []types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}}},
	})
	if r.Failed = fail("ec2:DescribeInstances", err); r.Failed != "" {
		return r, denied
	}
	r.More = aws.ToString(out.NextToken) != ""
	for _, res := range out.Reservations {
		for i := range res.Instances {
			x := &res.Instances[i]
			m := source.Machine{ID: aws.ToString(x.InstanceId), Type: string(x.InstanceType), Group: groupOf(x.Tags)}
			for _, t := range x.Tags {
				if key := aws.ToString(t.Key); !strings.HasPrefix(key, "aws:") {
					m.Tags = append(m.Tags, key+"="+aws.ToString(t.Value))
				}
			}
			r.Machines = append(r.Machines, m)
		}
	}
	slices.SortFunc(r.Machines, func(a, b source.Machine) int { return strings.Compare(a.ID, b.ID) })
	keys, err := client.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{})
	if r.Unkeyed = err != nil; r.Unkeyed {
		fail("ec2:DescribeKeyPairs", err)
		return r, denied
	}
	for _, k := range keys.KeyPairs {
		r.Keys = append(r.Keys, aws.ToString(k.KeyPairId)+" "+aws.ToString(k.KeyName))
	}
	slices.Sort(r.Keys)
	return r, denied
}

// told puts refused actions into words: a right that is missing everywhere is one, and one that other regions refuse, as organisations
// forbid regions, is one with their names.
func told(home string, names []string, denied [][]string) (out []string) {
	for _, action := range []string{"ec2:DescribeInstances", "ec2:DescribeKeyPairs"} {
		var in []string
		athome := false
		for i, list := range denied {
			if slices.Contains(list, action) {
				athome = athome || names[i] == home
				in = append(in, names[i])
			}
		}
		switch {
		case athome:
			out = append(out, action)
		case len(in) > regionsInWords:
			out = append(out, fmt.Sprintf("%s in %s and %d more regions", action, strings.Join(in[:regionsInWords], ", "), len(in)-regionsInWords))
		case len(in) > 0:
			out = append(out, action+" in "+strings.Join(in, ", "))
		}
	}
	return out
}

// groupOf gives what launched a machine by itself. Tags that begin with aws: are written by AWS alone.
func groupOf(tags []types.Tag) string {
	for _, name := range []string{"aws:autoscaling:groupName", "aws:ec2:fleet-id", "aws:ec2spot:fleet-request-id"} {
		for _, t := range tags {
			if aws.ToString(t.Key) == name && aws.ToString(t.Value) != "" {
				return aws.ToString(t.Value)
			}
		}
	}
	return ""
}

// grouped is what was read of groups that launch machines by themselves.
type grouped struct {
	mu       sync.Mutex
	limits   map[string]int    // machines that each group may have
	types    map[string]bool   // that templates and groups name
	launched map[string]bool   // IDs of machines that groups launched
	attached map[string]string // keys of volumes and network interfaces, with the machine
}

func (r *reading) grouping(do func(*grouped)) {
	g := r.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	do(g)
}

func newGrouped() *grouped {
	return &grouped{limits: map[string]int{}, types: map[string]bool{}, launched: map[string]bool{}, attached: map[string]string{}}
}

func (g *grouped) instance(x *types.Instance) {
	if groupOf(x.Tags) != "" {
		g.launched[aws.ToString(x.InstanceId)] = true
	}
}

func (g *grouped) attach(kind string, id, instance *string) {
	if instance != nil {
		g.attached[keyOf(kind, aws.ToString(id))] = *instance
	}
}

func (g *grouped) names(kind string) {
	if kind != "" {
		g.types[kind] = true
	}
}

func (g *grouped) group(x *scaling.AutoScalingGroup) {
	g.limits[aws.ToString(x.AutoScalingGroupName)] = int(aws.ToInt32(x.MaxSize))
	if p := x.MixedInstancesPolicy; p != nil && p.LaunchTemplate != nil {
		for _, o := range p.LaunchTemplate.Overrides {
			g.names(aws.ToString(o.InstanceType))
		}
	}
}

func (g *grouped) kinds() (out []string) {
	for k := range g.types {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Passes implements source.Passing: machines of groups, with their volumes and network interfaces, come and go by themselves.
func (v *view) Passes(key string) bool {
	if of, ok := v.groups.attached[key]; ok {
		return v.groups.launched[of]
	}
	id, ok := strings.CutPrefix(key, "instance/")
	return ok && v.groups.launched[strings.TrimSuffix(id, suffix)]
}
