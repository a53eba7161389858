package coverage

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	ec2source "github.com/holdfast-backup/holdfast/replicator/source/ec2"
)

const (
	regionsAtOnce = 8
	perSecond     = 10 // requests to one region: half of what EC2's token buckets refill
	perPage       = 500
	noVolume      = "vol-ffffffff" // what AWS gives as the volume of a snapshot that was made of none
)

// Machines looks at the disks, snapshots, machines and AMIs of an account, in its region and in every other that is open to it.
// unseen says, a line each, what could not be looked at and why; resources of it are not among those that are given.
func Machines(ctx context.Context, a Account) (all []Resource, unseen []string, err error) {
	var idle *http.Transport
	if a.Transport == nil {
		idle = awsclient.NewTransport(2*regionsAtOnce, time.Minute)
		a.Transport = idle
		defer idle.CloseIdleConnections()
	}
	names, err := ec2source.Regions(ctx, a.ec2(a.Region), a.Region)
	if err != nil {
		err = awsclient.Explain("list the regions of the account", err)
		if ctx.Err() != nil {
			return nil, nil, err
		}
		unseen = append(unseen, fmt.Sprintf("regions other than %s: %v", a.Region, err))
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(regionsAtOnce)
	for _, name := range names {
		g.Go(func() error {
			l := look{account: a, region: name, client: a.ec2(name)}
			l.run(gctx)
			mu.Lock()
			defer mu.Unlock()
			all, unseen = append(all, l.found...), append(unseen, l.unseen...)
			return gctx.Err()
		})
	}
	err = g.Wait()
	slices.Sort(unseen)
	return all, unseen, err
}

func (a Account) ec2(region string) *ec2.Client {
	keys, stack := awsclient.Signed(a.Credentials)
	o := ec2.Options{
		Region: region, Credentials: keys, APIOptions: stack, Retryer: awsclient.Retryer(0, nil),
		HTTPClient: awsclient.Client(awsclient.Describes{Next: a.Transport, Limit: rate.NewLimiter(perSecond, 2*perSecond)}),
	}
	if a.Endpoint != "" {
		o.BaseEndpoint = aws.String(a.Endpoint)
	}
	return ec2.New(o)
}

// look is at one region.
type look struct {
	account Account
	region  string
	client  *ec2.Client
	found   []Resource
	unseen  []string

	volumes map[string]bool // that are there
	imaged  map[string]bool // snapshots that AMIs are made of
}

func (l *look) run(ctx context.Context) {
	l.volumes, l.imaged = map[string]bool{}, map[string]bool{}
	l.ask(ctx, "volumes", l.disks)
	l.ask(ctx, "instances", l.instances)
	whole := l.ask(ctx, "AMIs", l.images)
	if !whole { // an AMI's snapshots could not be told from others
		l.unseen = append(l.unseen, fmt.Sprintf("snapshots of %s: those of AMIs cannot be told from others", l.region))
		return
	}
	l.ask(ctx, "snapshots", l.snapshots)
}

// ask does one listing. What was found until it failed is let go: half of a list would look like all of it.
func (l *look) ask(ctx context.Context, what string, list func(context.Context) error) bool {
	before := len(l.found)
	err := list(ctx)
	if err == nil {
		return true
	}
	l.found = l.found[:before]
	l.unseen = append(l.unseen, awsclient.Explain(fmt.Sprintf("%s of %s", what, l.region), err).Error())
	return false
}

func (l *look) add(scheme, id string, r Resource) {
	r.URL, r.region = scheme+"://"+l.region+"/"+id, l.region
	if l.account.Endpoint != "" {
		r.URL += "?endpoint=" + l.account.Endpoint
	}
	l.found = append(l.found, r)
}

const gib = 1 << 30

func (l *look) disks(ctx context.Context) error {
	p := ec2.NewDescribeVolumesPaginator(l.client, &ec2.DescribeVolumesInput{MaxResults: aws.Int32(perPage)},
		func(o *ec2.DescribeVolumesPaginatorOptions) { o.StopOnDuplicateToken = true })
	return awsclient.Pages(ctx, p, func(page *ec2.DescribeVolumesOutput) error {
		for _, v := range page.Volumes {
			id := aws.ToString(v.VolumeId)
			l.volumes[id] = true
			r := Resource{Kind: KindVolume, Name: nameOf(v.Tags), Bytes: int64(aws.ToInt32(v.Size)) * gib, Made: aws.ToTime(v.CreateTime).UTC(), keys: []string{id}}
			for _, a := range v.Attachments {
				r.instances = append(r.instances, aws.ToString(a.InstanceId))
			}
			l.add("ebs", id, r)
		}
		return nil
	})
}

func (l *look) instances(ctx context.Context) error {
	p := ec2.NewDescribeInstancesPaginator(l.client, &ec2.DescribeInstancesInput{
		MaxResults: aws.Int32(perPage),
		Filters:    []types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}}},
	}, func(o *ec2.DescribeInstancesPaginatorOptions) { o.StopOnDuplicateToken = true })
	return awsclient.Pages(ctx, p, func(page *ec2.DescribeInstancesOutput) error {
		for _, res := range page.Reservations {
			for _, x := range res.Instances {
				id := aws.ToString(x.InstanceId)
				l.add("ec2", id, Resource{Kind: KindInstance, Name: nameOf(x.Tags), Bytes: Unknown, Made: aws.ToTime(x.LaunchTime).UTC(), keys: []string{"instance/" + id + ".json"}})
			}
		}
		return nil
	})
}

func (l *look) images(ctx context.Context) error {
	p := ec2.NewDescribeImagesPaginator(l.client, &ec2.DescribeImagesInput{Owners: []string{"self"}, MaxResults: aws.Int32(perPage)},
		func(o *ec2.DescribeImagesPaginatorOptions) { o.StopOnDuplicateToken = true })
	return awsclient.Pages(ctx, p, func(page *ec2.DescribeImagesOutput) error {
		for _, x := range page.Images {
			id := aws.ToString(x.ImageId)
			r := Resource{Kind: KindImage, Name: nameOf(x.Tags), keys: []string{"image/" + id + ".json"}}
			if r.Name == "" {
				r.Name = aws.ToString(x.Name)
			}
			r.Made, _ = time.Parse(time.RFC3339, aws.ToString(x.CreationDate)) // else it is not known
			for _, d := range x.BlockDeviceMappings {
				if d.Ebs == nil || aws.ToString(d.Ebs.SnapshotId) == "" {
					continue
				}
				snap := aws.ToString(d.Ebs.SnapshotId)
				l.imaged[snap] = true
				r.keys = append(r.keys, "snapshot/"+snap)
				r.Bytes += int64(aws.ToInt32(d.Ebs.VolumeSize)) * gib
			}
			l.add("ec2", id, r)
		}
		return nil
	})
}

// snapshots gives those that nothing else stands for: neither a volume that is there, nor an AMI.
func (l *look) snapshots(ctx context.Context) error {
	p := ec2.NewDescribeSnapshotsPaginator(l.client, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(perPage)},
		func(o *ec2.DescribeSnapshotsPaginatorOptions) { o.StopOnDuplicateToken = true })
	lines := map[string]*Resource{}
	err := awsclient.Pages(ctx, p, func(page *ec2.DescribeSnapshotsOutput) error {
		for _, x := range page.Snapshots {
			id, volume := aws.ToString(x.SnapshotId), aws.ToString(x.VolumeId)
			if l.imaged[id] || l.volumes[volume] {
				continue
			}
			if volume == "" || volume == noVolume {
				volume = id
			}
			r := lines[volume]
			if r == nil {
				r = &Resource{Kind: KindSnapshots, keys: []string{volume}}
				lines[volume] = r
			}
			if at := aws.ToTime(x.StartTime).UTC(); !at.Before(r.Made) {
				r.Made, r.Bytes, r.Name = at, int64(aws.ToInt32(x.VolumeSize))*gib, nameOf(x.Tags)
			}
		}
		return nil
	})
	for id, r := range lines {
		l.add("ebs", id, *r)
	}
	return err
}

func nameOf(tags []types.Tag) string {
	for _, t := range tags {
		if strings.EqualFold(aws.ToString(t.Key), "Name") {
			return aws.ToString(t.Value)
		}
	}
	return ""
}
