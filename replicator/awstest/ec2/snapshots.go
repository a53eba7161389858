package ec2

import (
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

const timeForm = "2006-01-02T15:04:05.000Z"

type snapshotItem struct {
	SnapshotID   string `xml:"snapshotId"`
	VolumeID     string `xml:"volumeId"`
	Status       string `xml:"status,omitempty"`
	State        string `xml:"state,omitempty"` // in the answer of CreateSnapshots
	StateMessage string `xml:"statusMessage,omitempty"`
	StartTime    string `xml:"startTime"`
	Progress     string `xml:"progress"`
	OwnerID      string `xml:"ownerId"`
	VolumeSize   int64  `xml:"volumeSize"`
	Description  string `xml:"description"`
	Encrypted    bool   `xml:"encrypted"`
	KMSKeyID     string `xml:"kmsKeyId,omitempty"`
	Tags         []Tag  `xml:"tagSet>item"`
	StorageTier  string `xml:"storageTier,omitempty"`
}

func itemOf(s *world.Snapshot) snapshotItem {
	i := snapshotItem{
		SnapshotID: s.ID, VolumeID: s.VolumeID, Status: s.State, StateMessage: s.StateMessage, StartTime: s.Started.UTC().Format(timeForm),
		Progress: "100%", OwnerID: s.Owner, VolumeSize: s.SizeGiB, Description: s.Description, Encrypted: s.Encrypted, KMSKeyID: s.KMSKeyID,
		Tags: Tags(s.Tags), StorageTier: s.Tier,
	}
	if s.State != "completed" {
		i.Progress = "40%"
	}
	return i
}

// describeSnapshots: by IDs, owners, and the filters that are asked for here.
func describeSnapshots(c *Call) (any, *Error) {
	ids, owners, filters := c.List("SnapshotId"), c.List("Owner"), c.Filters()
	if len(ids) > 0 && c.Get("MaxResults") != "" { // [API: MaxResults and snapshot IDs exclude each other]
		return nil, Errorf("InvalidParameterCombination", "The parameter snapshotIds cannot be used with the parameter maxResults")
	}
	for _, id := range ids {
		if c.World.Snapshot(id) == nil {
			return nil, Errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
		}
	}
	for name := range filters {
		switch name {
		case "snapshot-id", "volume-id", "status", "storage-tier", "owner-id", "tag-key":
		default:
			if len(name) < 5 || name[:4] != "tag:" {
				return nil, Errorf("InvalidParameterValue", "The filter '%s' is invalid", name)
			}
		}
	}
	var found []snapshotItem
	for _, s := range c.World.Snapshots() {
		by := map[string]string{"snapshot-id": s.ID, "volume-id": s.VolumeID, "status": s.State, "storage-tier": s.Tier, "owner-id": s.Owner}
		ok := c.here(s.Region) && (len(ids) == 0 || Any(ids, s.ID)) && MatchTags(filters, s.Tags)
		for name, values := range filters {
			if v, known := by[name]; known {
				ok = ok && Any(values, v)
			}
		}
		if len(owners) > 0 {
			ok = ok && (Any(owners, s.Owner) || Any(owners, "self") && s.Owner == world.Account)
		}
		if ok {
			found = append(found, itemOf(s))
		}
	}
	from, to, next, e := c.Page(len(found))
	if e != nil {
		return nil, e
	}
	return struct {
		RequestID string         `xml:"requestId"`
		Items     []snapshotItem `xml:"snapshotSet>item"`
		NextToken string         `xml:"nextToken,omitempty"`
	}{"r", found[from:to], next}, nil
}

type volumeItem struct {
	VolumeID   string `xml:"volumeId"`
	Size       int64  `xml:"size"`
	SnapshotID string `xml:"snapshotId"`
	Zone       string `xml:"availabilityZone"`
	Status     string `xml:"status"`
	Type       string `xml:"volumeType"`
	IOPS       int32  `xml:"iops,omitempty"`
	Throughput int32  `xml:"throughput,omitempty"`
	Encrypted  bool   `xml:"encrypted"`
	KMSKeyID   string `xml:"kmsKeyId,omitempty"`
	Multi      bool   `xml:"multiAttachEnabled"`
	Tags       []Tag  `xml:"tagSet>item"`

	Attached []attachment `xml:"attachmentSet>item"`
}

type attachment struct {
	Instance string `xml:"instanceId"`
}

func attached(v world.Volume) []attachment {
	if v.Instance == "" {
		return nil
	}
	return []attachment{{v.Instance}}
}

func describeVolumes(c *Call) (any, *Error) {
	ids, filters := c.List("VolumeId"), c.Filters()
	var found []volumeItem
	seen := map[string]bool{}
	for _, v := range c.World.Volumes() {
		seen[v.ID] = true
		ok := c.here(v.Region) && (len(ids) == 0 || Any(ids, v.ID)) && MatchTags(filters, v.Tags)
		for name, values := range filters {
			switch name {
			case "volume-id":
				ok = ok && Any(values, v.ID)
			case "attachment.instance-id":
				ok = ok && Any(values, v.Instance)
			}
		}
		if ok {
			found = append(found, volumeItem{v.ID, v.SizeGiB, v.SnapshotID, v.Zone, v.State, v.Type, v.IOPS, v.Throughput, v.Encrypted, v.KMSKeyID, v.MultiAttach, Tags(v.Tags), attached(v)})
		}
	}
	for _, id := range ids {
		if !seen[id] {
			return nil, Errorf("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
		}
	}
	from, to, next, e := c.Page(len(found))
	if e != nil {
		return nil, e
	}
	return struct {
		RequestID string       `xml:"requestId"`
		Items     []volumeItem `xml:"volumeSet>item"`
		NextToken string       `xml:"nextToken,omitempty"`
	}{"r", found[from:to], next}, nil
}

// createSnapshots makes one of each volume of an instance, all of the same moment.
func createSnapshots(c *Call) (any, *Error) {
	instance := c.Get("InstanceSpecification.InstanceId")
	description := c.Get("Description")
	copyTags := c.Get("CopyTagsFromSource")
	if copyTags != "" && copyTags != "volume" {
		return nil, Errorf("InvalidParameterValue", "CopyTagsFromSource %q", copyTags)
	}
	tags := map[string]string{}
	for i := 1; c.Form.Has("TagSpecification." + strconv.Itoa(i) + ".ResourceType"); i++ {
		p := "TagSpecification." + strconv.Itoa(i)
		if c.Get(p+".ResourceType") != "snapshot" {
			return nil, Errorf("InvalidParameterValue", "only snapshots are tagged here")
		}
		for j := 1; c.Form.Has(p + ".Tag." + strconv.Itoa(j) + ".Key"); j++ {
			q := p + ".Tag." + strconv.Itoa(j)
			tags[c.Get(q+".Key")] = c.Get(q + ".Value")
		}
	}
	var made []snapshotItem
	at := c.World.Now().Truncate(time.Millisecond)
	for _, v := range c.World.Volumes() {
		if v.Instance != instance {
			continue
		}
		all := map[string]string{}
		if copyTags != "" {
			for k, t := range v.Tags {
				all[k] = t
			}
		}
		for k, t := range tags {
			all[k] = t
		}
		s := c.World.AddSnapshot(world.Snapshot{
			VolumeID: v.ID, SizeGiB: v.SizeGiB, Description: description, Started: at, State: "pending", Done: at.Add(100 * time.Millisecond),
			Encrypted: v.Encrypted, KMSKeyID: v.KMSKeyID, Tags: all, Content: v.Content,
		})
		i := itemOf(s)
		i.State, i.Status = i.Status, ""
		made = append(made, i)
	}
	if len(made) == 0 {
		return nil, Errorf("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", instance)
	}
	return struct {
		RequestID string         `xml:"requestId"`
		Items     []snapshotItem `xml:"snapshotSet>item"`
	}{"r", made}, nil
}

func createTags(c *Call) (any, *Error) {
	ids := c.List("ResourceId")
	tags := map[string]string{}
	for i := 1; c.Form.Has("Tag." + strconv.Itoa(i) + ".Key"); i++ {
		tags[c.Get("Tag."+strconv.Itoa(i)+".Key")] = c.Get("Tag." + strconv.Itoa(i) + ".Value")
	}
	for _, id := range ids {
		if !c.World.Update(id, func(s *world.Snapshot) {
			all := map[string]string{}
			for k, v := range s.Tags {
				all[k] = v
			}
			for k, v := range tags {
				all[k] = v
			}
			s.Tags = all
		}) {
			return nil, Errorf("InvalidID", "The ID '%s' is not valid", id)
		}
	}
	return struct {
		Return bool `xml:"return"`
	}{true}, nil
}
