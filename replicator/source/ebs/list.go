package ebssource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// noVolume is what AWS gives as the volume of a snapshot that was made of none.
const noVolume = "vol-ffffffff"

// batch is how many values a filter takes at once.
const batch = 200

// Entries implements source.View.
func (v *view) Entries(_ context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		for _, known := range v.entries {
			if known.Key < from || to != "" && known.Key >= to {
				continue
			}
			e := *known
			e.Metadata, e.Tags = nil, nil // which a listing does not set
			if !yield(&e, nil) {
				return
			}
		}
	}
}

// list finds the snapshots that are selected, those made just now among them, and makes entries of them, in order.
func (s *Source) list(ctx context.Context, made []string) ([]*format.Entry, error) {
	found, err := s.find(ctx, made)
	if err != nil {
		return nil, err
	}
	volumes, err := s.volumes(ctx, found)
	if err != nil {
		return nil, err
	}
	byVolume := map[string][]types.Snapshot{}
	for _, snap := range found {
		key := keyOf(snap)
		if s.exclude.Match(key) {
			continue
		}
		byVolume[key] = append(byVolume[key], snap)
	}
	var out []*format.Entry
	for key, snaps := range byVolume {
		slices.SortFunc(snaps, func(a, b types.Snapshot) int {
			return cmp.Or(aws.ToTime(a.StartTime).Compare(aws.ToTime(b.StartTime)), cmp.Compare(aws.ToString(a.SnapshotId), aws.ToString(b.SnapshotId)))
		})
		if s.o.All {
			for _, snap := range snaps {
				e := s.entry(key, snap, volumes)
				e.Version = aws.ToString(snap.SnapshotId)
				out = append(out, e)
			}
			continue
		}
		out = append(out, s.newest(key, snaps, volumes)...)
	}
	for _, id := range slices.Concat(s.o.Snapshots, made) {
		if !slices.ContainsFunc(found, func(f types.Snapshot) bool { return aws.ToString(f.SnapshotId) == id }) {
			out = append(out, &format.Entry{Kind: format.KindImage, Key: id, ETag: id, Missing: "there is no such snapshot"})
		}
	}
	for _, id := range s.o.Volumes {
		if len(byVolume[id]) == 0 && !s.exclude.Match(id) {
			out = append(out, &format.Entry{Kind: format.KindImage, Key: id, Missing: "no snapshot of it is found"})
		}
	}
	slices.SortStableFunc(out, func(a, b *format.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

// newest gives the newest completed snapshot of a volume, and whatever is newer and not completed as missing. Where none
// is completed the newest stands for the volume.
func (s *Source) newest(key string, snaps []types.Snapshot, volumes map[string]types.Volume) (out []*format.Entry) {
	i := len(snaps) - 1
	for i > 0 && snaps[i].State != types.SnapshotStateCompleted {
		i--
	}
	if snaps[i].State != types.SnapshotStateCompleted {
		i = len(snaps) - 1
	}
	out = append(out, s.entry(key, snaps[i], volumes))
	for _, snap := range snaps[i+1:] {
		out = append(out, s.entry(aws.ToString(snap.SnapshotId), snap, volumes))
	}
	return out
}

// keyOf is the volume's ID, or the snapshot's where it has none.
func keyOf(snap types.Snapshot) string {
	if v := aws.ToString(snap.VolumeId); v != "" && v != noVolume {
		return v
	}
	return aws.ToString(snap.SnapshotId)
}

// entry is what is known of a snapshot before it is read.
func (s *Source) entry(key string, snap types.Snapshot, volumes map[string]types.Volume) *format.Entry {
	e := &format.Entry{
		Kind: format.KindImage, Key: key, Size: int64(aws.ToInt32(snap.VolumeSize)) << 30,
		Modified: format.At(aws.ToTime(snap.StartTime)), ETag: aws.ToString(snap.SnapshotId), Missing: unreadable(snap),
		Metadata: map[string]string{"region": s.o.Region, "snapshot-id": aws.ToString(snap.SnapshotId), "encrypted": strconv.FormatBool(aws.ToBool(snap.Encrypted))},
	}
	set := func(name, value string) {
		if value != "" {
			e.Metadata[name] = value
		}
	}
	set("volume-id", aws.ToString(snap.VolumeId))
	set("volume-size-gib", strconv.Itoa(int(aws.ToInt32(snap.VolumeSize))))
	set("owner-id", aws.ToString(snap.OwnerId))
	set("description", aws.ToString(snap.Description))
	set("kms-key-id", aws.ToString(snap.KmsKeyId))
	set("snapshot-started", aws.ToTime(snap.StartTime).UTC().Format(time.RFC3339Nano))
	e.Tags = tagsOf(snap.Tags)
	v, ok := volumes[aws.ToString(snap.VolumeId)]
	if !ok {
		return e
	}
	set("volume-type", string(v.VolumeType))
	set("availability-zone", aws.ToString(v.AvailabilityZone))
	set("multi-attach", strconv.FormatBool(aws.ToBool(v.MultiAttachEnabled)))
	if v.Iops != nil {
		set("iops", strconv.Itoa(int(*v.Iops)))
	}
	if v.Throughput != nil {
		set("throughput", strconv.Itoa(int(*v.Throughput)))
	}
	for k, t := range tagsOf(v.Tags) {
		e.Metadata["volume-tag:"+k] = t
	}
	return e
}

func tagsOf(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, t := range tags {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

// unreadable says why a snapshot cannot be read, "" if it can as far as is known.
func unreadable(snap types.Snapshot) string {
	switch {
	case snap.State == types.SnapshotStatePending:
		return "pending: AWS has not completed it yet"
	case snap.State == types.SnapshotStateError:
		return "AWS failed to make it (error)"
	case snap.State != types.SnapshotStateCompleted:
		return "not completed (" + string(snap.State) + ")"
	case snap.StorageTier == types.StorageTierArchive:
		return "archived: restore it to the standard tier first"
	case aws.ToString(snap.OutpostArn) != "":
		return "on an Outpost, which the EBS direct APIs do not read"
	case aws.ToInt32(snap.VolumeSize) <= 0:
		return "AWS gives no size for it"
	}
	return ""
}

// find asks for the snapshots that are selected.
func (s *Source) find(ctx context.Context, made []string) ([]types.Snapshot, error) {
	if len(made) > 0 {
		return s.byID(ctx, made)
	}
	if len(s.o.Snapshots) > 0 {
		return s.byID(ctx, s.o.Snapshots)
	}
	in := &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(1000)}
	for _, t := range s.o.Tags {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String("tag:" + t.Key), Values: []string{literal(t.Value)}})
	}
	if len(s.o.Volumes) > 0 {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String("volume-id"), Values: s.o.Volumes})
	}
	return s.pages(ctx, in)
}

// literal keeps a filter from reading wildcards into a value.
func literal(v string) string {
	out := make([]byte, 0, len(v))
	for _, c := range []byte(v) {
		if c == '*' || c == '?' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}

// byID asks with a filter: one snapshot that is not there does not hide the others.
func (s *Source) byID(ctx context.Context, ids []string) (out []types.Snapshot, err error) {
	for part := range slices.Chunk(ids, batch) {
		in := &ec2.DescribeSnapshotsInput{MaxResults: aws.Int32(1000), Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: part}}}
		found, err := s.pages(ctx, in)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (s *Source) pages(ctx context.Context, in *ec2.DescribeSnapshotsInput) (out []types.Snapshot, err error) {
	seen := map[string]bool{}
	for {
		page, err := s.api.DescribeSnapshots(ctx, in)
		if err != nil {
			return nil, awsclient.Explain(s.name+": describe snapshots", err)
		}
		for _, snap := range page.Snapshots {
			if id := aws.ToString(snap.SnapshotId); id != "" && !seen[id] {
				seen[id] = true
				out = append(out, snap)
			}
		}
		next := aws.ToString(page.NextToken)
		if next == "" {
			return out, nil
		}
		if next == aws.ToString(in.NextToken) {
			return nil, fmt.Errorf("%s: describe snapshots: the listing does not go on behind %d of them", s.name, len(out))
		}
		in.NextToken = &next
	}
}

// volumes asks for what is known of the snapshots' volumes. Those that are gone are left out.
func (s *Source) volumes(ctx context.Context, snaps []types.Snapshot) (map[string]types.Volume, error) {
	var ids []string
	for _, snap := range snaps {
		if v := aws.ToString(snap.VolumeId); v != "" && v != noVolume && !slices.Contains(ids, v) {
			ids = append(ids, v)
		}
	}
	out := map[string]types.Volume{}
	for part := range slices.Chunk(ids, batch) {
		pages := ec2.NewDescribeVolumesPaginator(s.api, &ec2.DescribeVolumesInput{
			MaxResults: aws.Int32(500), Filters: []types.Filter{{Name: aws.String("volume-id"), Values: part}},
		}, func(o *ec2.DescribeVolumesPaginatorOptions) { o.StopOnDuplicateToken = true })
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, awsclient.Explain(s.name+": describe volumes", err)
			}
			for _, v := range page.Volumes {
				out[aws.ToString(v.VolumeId)] = v
			}
		}
	}
	return out, nil
}

// create makes a set of snapshots of each instance's volumes, all of one moment, and waits until they are completed. One
// that is not in time, or fails, is listed as what it is then.
func (s *Source) create(ctx context.Context) (ids []string, err error) {
	for _, instance := range s.o.Create {
		out, err := s.api.CreateSnapshots(ctx, &ec2.CreateSnapshotsInput{
			InstanceSpecification: &types.InstanceSpecification{InstanceId: &instance},
			Description:           aws.String("made for a backup by holdfast"),
			CopyTagsFromSource:    types.CopyTagsFromSourceVolume,
			TagSpecifications:     s.tagNew(),
		})
		if err != nil {
			return nil, awsclient.Explain(s.name+": create snapshots of "+instance, err)
		}
		for _, snap := range out.Snapshots {
			ids = append(ids, aws.ToString(snap.SnapshotId))
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	deadline := time.Now().Add(s.o.CreateTimeout)
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		found, err := s.byID(ctx, ids)
		if err != nil {
			return nil, err
		}
		done := 0
		for _, snap := range found {
			if snap.State != types.SnapshotStatePending {
				done++
			}
		}
		if done == len(ids) || time.Now().After(deadline) {
			return ids, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(fmt.Errorf("%s: wait for new snapshots", s.name), ctx.Err())
		}
	}
}

// tagNew gives new snapshots the tags of the selection, so that they belong to it.
func (s *Source) tagNew() []types.TagSpecification {
	if len(s.o.Tags) == 0 {
		return nil
	}
	spec := types.TagSpecification{ResourceType: types.ResourceTypeSnapshot}
	for _, t := range s.o.Tags {
		spec.Tags = append(spec.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return []types.TagSpecification{spec}
}
