package ec2source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
)

// snapshot is one of an AMI's.
type snapshot struct {
	id    string
	size  int64 // bytes
	about map[string]string
}

// images keeps the account's own AMIs with what only DescribeImageAttribute tells, and their snapshots.
func images(ctx context.Context, r *reading) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(manyAtOnce)
	var mu sync.Mutex
	snapshots := map[string][]string{} // and the AMIs that are made of them
	in := &ec2.DescribeImagesInput{
		MaxResults: pageSize(), Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true), Filters: r.tagged(),
	}
	err := awsclient.Pages(gctx, ec2.NewDescribeImagesPaginator(r.clients.ec2, in), func(page *ec2.DescribeImagesOutput) error {
		for _, x := range page.Images {
			id := aws.ToString(x.ImageId)
			mu.Lock()
			for _, m := range x.BlockDeviceMappings {
				if m.Ebs != nil && m.Ebs.SnapshotId != nil {
					snapshots[*m.Ebs.SnapshotId] = append(snapshots[*m.Ebs.SnapshotId], id)
				}
			}
			mu.Unlock()
			g.Go(func() error { return r.image(gctx, x) })
		}
		return nil
	})
	if err := firstOf(g.Wait(), err); err != nil {
		return err
	}
	if r.o.Snapshot == nil {
		return nil
	}
	return r.snapshots(ctx, snapshots)
}

func (r *reading) image(ctx context.Context, x types.Image) error {
	id := aws.ToString(x.ImageId)
	d := document{"Image": fields(x)}
	attributes := document{}
	for _, a := range []types.ImageAttributeName{types.ImageAttributeNameLaunchPermission, types.ImageAttributeNameUefiData} {
		err := r.attribute("image", string(a), "ec2:DescribeImageAttribute", func() error {
			out, err := r.clients.ec2.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: x.ImageId, Attribute: a})
			if err == nil {
				attributes.merge(fields(*out, "ImageId"))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	d.set("ImageAttribute", attributes)
	if why := billed(aws.ToString(x.PlatformDetails), aws.ToString(x.UsageOperation), x.ProductCodes); why != "" {
		r.remark(keyOf("image", id), "registered again it would lose its billing, and what is installed on it its licence: "+why)
	}
	if x.RootDeviceType == types.DeviceTypeInstanceStore {
		r.remark(keyOf("image", id), "its content is in S3 (instance store), not in a snapshot: protect that bucket, it is "+aws.ToString(x.ImageLocation))
	}
	return r.keep("image", id, parseTime(x.CreationDate), d)
}

// billed says what AWS charges for a machine beyond the machine: codes that nobody can give to an AMI that he registers.
func billed(platform, operation string, codes []types.ProductCode) string {
	var why []string
	if platform != "" && platform != "Linux/UNIX" {
		why = append(why, platform)
	}
	if operation != "" && operation != "RunInstances" {
		why = append(why, "UsageOperation "+operation)
	}
	for _, c := range codes {
		why = append(why, fmt.Sprintf("product code %s (%s)", aws.ToString(c.ProductCodeId), c.ProductCodeType))
	}
	return strings.Join(why, ", ")
}

// snapshotsAtOnce is how many snapshots are asked about in one request.
const snapshotsAtOnce = 100

// snapshots lists the AMIs' snapshots as disk images.
func (r *reading) snapshots(ctx context.Context, of map[string][]string) error {
	ids := slices.Sorted(maps.Keys(of))
	for some := range slices.Chunk(ids, snapshotsAtOnce) {
		seen := map[string]bool{}
		// By a filter: one that is gone is left out, instead of failing all.
		in := &ec2.DescribeSnapshotsInput{MaxResults: pageSize(), Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: some}}}
		err := awsclient.Pages(ctx, ec2.NewDescribeSnapshotsPaginator(r.clients.ec2, in), func(page *ec2.DescribeSnapshotsOutput) error {
			for _, x := range page.Snapshots {
				seen[aws.ToString(x.SnapshotId)] = true
				r.snapshot(x)
			}
			return nil
		})
		if why, ok := refused(err); ok {
			r.lost("snapshot/*", why+" ("+actionOf(err, "ec2:DescribeSnapshots")+")")
			return nil
		}
		if err != nil {
			return err
		}
		for _, id := range some {
			if !seen[id] {
				r.lost("snapshot/"+id, "not there, or not this account's to read; "+strings.Join(of[id], ", ")+" is made of it")
			}
		}
	}
	return nil
}

// snapshot lists one snapshot, or says why it cannot be read now.
func (r *reading) snapshot(x types.Snapshot) {
	id := aws.ToString(x.SnapshotId)
	f := found{key: "snapshot/" + id, modified: epoch}
	if x.StartTime != nil {
		f.modified = x.StartTime.UTC()
	}
	switch {
	case x.State != types.SnapshotStateCompleted:
		f.missing = string(x.State)
	case x.StorageTier == types.StorageTierArchive:
		f.missing = "archived"
	case aws.ToInt32(x.VolumeSize) < 1:
		f.missing = "of no size"
	default:
		f.image = &snapshot{id: id, size: int64(aws.ToInt32(x.VolumeSize)) << 30, about: map[string]string{
			"snapshot-id": id, "volume-id": aws.ToString(x.VolumeId), "volume-size-gib": strconv.Itoa(int(aws.ToInt32(x.VolumeSize))),
			"region": r.o.Region, "owner-id": aws.ToString(x.OwnerId), "description": aws.ToString(x.Description),
			"encrypted": strconv.FormatBool(aws.ToBool(x.Encrypted)), "kms-key-id": aws.ToString(x.KmsKeyId),
		}}
		maps.DeleteFunc(f.image.about, func(_, v string) bool { return v == "" })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = append(r.found, f)
}

// instances keeps instances with the attributes that DescribeInstances leaves out.
func instances(ctx context.Context, r *reading) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(manyAtOnce)
	in := &ec2.DescribeInstancesInput{MaxResults: pageSize(), Filters: r.tagged()}
	err := awsclient.Pages(gctx, ec2.NewDescribeInstancesPaginator(r.clients.ec2, in), func(page *ec2.DescribeInstancesOutput) error {
		for _, v := range page.Reservations {
			for _, x := range v.Instances {
				if x.State != nil && x.State.Name == types.InstanceStateNameTerminated {
					continue // listed for an hour after it was
				}
				g.Go(func() error { return r.instance(gctx, v, x) })
			}
		}
		return nil
	})
	return firstOf(g.Wait(), err)
}

func (r *reading) instance(ctx context.Context, v types.Reservation, x types.Instance) error {
	id := aws.ToString(x.InstanceId)
	attributes := document{}
	for _, a := range []types.InstanceAttributeName{
		types.InstanceAttributeNameUserData, types.InstanceAttributeNameDisableApiTermination, types.InstanceAttributeNameDisableApiStop,
		types.InstanceAttributeNameInstanceInitiatedShutdownBehavior,
	} {
		err := r.attribute("instance", string(a), "ec2:DescribeInstanceAttribute", func() error {
			out, err := r.clients.ec2.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: x.InstanceId, Attribute: a})
			if err == nil {
				attributes.merge(fields(*out, "InstanceId"))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	r.grouping(func(g *grouped) { g.instance(&x) })
	d := document{"Instance": fields(x)}
	d.set("InstanceAttribute", attributes)
	d.set("Reservation", fields(v, "Instances"))
	if why := billed(aws.ToString(x.PlatformDetails), aws.ToString(x.UsageOperation), x.ProductCodes); why != "" {
		r.remark(keyOf("instance", id), "started from an AMI that was registered again it would lose its billing, and what is installed on it its licence: "+why)
	}
	return r.keep("instance", id, x.LaunchTime, d)
}

// inOrder gives a map's values in order of their numbers.
func inOrder(m map[int64]any) []any {
	var out []any
	for _, n := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[n])
	}
	return out
}
