package ec2

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// imageName is what the name of an AMI may be made of [API: RegisterImage, Name].
var imageName = regexp.MustCompile(`^[a-zA-Z0-9()\[\] ./\-'@_]{3,128}$`)

// ebsItem is a device of an AMI, in requests and answers.
type ebsItem struct {
	DeleteOnTermination string `xml:"deleteOnTermination"`
	Encrypted           bool   `xml:"encrypted"`
	IOPS                string `xml:"iops,omitempty"`
	KMSKeyID            string `xml:"kmsKeyId,omitempty"`
	SnapshotID          string `xml:"snapshotId,omitempty"`
	Throughput          string `xml:"throughput,omitempty"`
	VolumeSize          string `xml:"volumeSize,omitempty"`
	VolumeType          string `xml:"volumeType,omitempty"`
}

type deviceItem struct {
	DeviceName  string   `xml:"deviceName"`
	VirtualName string   `xml:"virtualName,omitempty"`
	EBS         *ebsItem `xml:"ebs"`
}

type imageItem struct {
	ImageID        string       `xml:"imageId"`
	Location       string       `xml:"imageLocation"`
	State          string       `xml:"imageState"`
	Owner          string       `xml:"imageOwnerId"`
	Created        string       `xml:"creationDate"`
	Public         bool         `xml:"isPublic"`
	Architecture   string       `xml:"architecture"`
	Type           string       `xml:"imageType"`
	Kernel         string       `xml:"kernelId,omitempty"`
	Ramdisk        string       `xml:"ramdiskId,omitempty"`
	SriovNet       string       `xml:"sriovNetSupport,omitempty"`
	Name           string       `xml:"name"`
	Description    string       `xml:"description,omitempty"`
	RootDeviceType string       `xml:"rootDeviceType"`
	RootDeviceName string       `xml:"rootDeviceName"`
	Devices        []deviceItem `xml:"blockDeviceMapping>item"`
	Virtualization string       `xml:"virtualizationType"`
	Hypervisor     string       `xml:"hypervisor"`
	ENA            string       `xml:"enaSupport,omitempty"`
	BootMode       string       `xml:"bootMode,omitempty"`
	TPM            string       `xml:"tpmSupport,omitempty"`
	IMDS           string       `xml:"imdsSupport,omitempty"`
	Platform       string       `xml:"platformDetails"`
	Operation      string       `xml:"usageOperation"`
	Tags           []Tag        `xml:"tagSet>item"`
}

// registerImage makes an AMI of snapshots. Its defaults are AWS's: i386 and paravirtual [API: RegisterImage]. Whatever it was
// made of, its billing is that of Linux: product codes are for accounts that are authorized [API: RegisterImage, BillingProduct].
func registerImage(c *Call) (any, *Error) {
	i := imageItem{
		State: "available", Owner: world.Account, Created: c.World.Now().UTC().Format(timeForm), Type: "machine", Hypervisor: "xen",
		Platform: "Linux/UNIX", Operation: "RunInstances", RootDeviceType: "ebs",
		Name: c.Get("Name"), Description: c.Get("Description"), Architecture: c.Get("Architecture"), Virtualization: c.Get("VirtualizationType"),
		Kernel: c.Get("KernelId"), Ramdisk: c.Get("RamdiskId"), SriovNet: c.Get("SriovNetSupport"), RootDeviceName: c.Get("RootDeviceName"),
		ENA: c.Get("EnaSupport"), BootMode: c.Get("BootMode"), TPM: c.Get("TpmSupport"), IMDS: c.Get("ImdsSupport"),
	}
	uefi := c.Get("UefiData")
	i.Location = world.Account + "/" + i.Name
	i.Architecture, i.Virtualization = or(i.Architecture, "i386"), or(i.Virtualization, "paravirtual")
	i.ENA = strings.TrimPrefix(i.ENA, "false")
	if e := i.check(c, uefi); e != nil {
		return nil, e
	}
	var e *Error
	if i.Devices, e = c.devices(); e != nil {
		return nil, e
	}
	root := slices.IndexFunc(i.Devices, func(d deviceItem) bool { return d.DeviceName == i.RootDeviceName })
	if root < 0 || i.Devices[root].EBS == nil || i.Devices[root].EBS.SnapshotID == "" {
		return nil, Errorf("InvalidBlockDeviceMapping", "the root device %q needs a snapshot", i.RootDeviceName)
	}
	if i.Tags, e = c.tagSpecification("image"); e != nil {
		return nil, e
	}
	i.ImageID = c.World.ID("ami")
	b, err := xml.Marshal(i)
	if err != nil {
		return nil, Errorf("InternalError", "%v", err)
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(string(b), "<imageItem>"), "</imageItem>")
	c.Put("image", i.ImageID, inner)
	if uefi != "" {
		c.SetAttribute(i.ImageID, "uefiData", "<uefiData><value>"+uefi+"</value></uefiData>")
	}
	return item{"<requestId>r</requestId><imageId>" + i.ImageID + "</imageId>"}, nil
}

func or(v, d string) string {
	if v == "" {
		return d
	}
	return v
}

// check holds the request to what [API: RegisterImage] says of each parameter.
func (i *imageItem) check(c *Call, uefi string) *Error {
	if !imageName.MatchString(i.Name) {
		return Errorf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	for _, r := range c.of("image") {
		if r.field("name") == i.Name && r.ownedBy([]string{"self"}) {
			return Errorf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", i.Name, r.id)
		}
	}
	for _, x := range []struct {
		name, value string
		allowed     []string
	}{
		{"architecture", i.Architecture, []string{"i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"}},
		{"virtualizationType", i.Virtualization, []string{"hvm", "paravirtual"}},
		{"bootMode", i.BootMode, []string{"", "legacy-bios", "uefi", "uefi-preferred"}},
		{"tpmSupport", i.TPM, []string{"", "v2.0"}},
		{"imdsSupport", i.IMDS, []string{"", "v2.0"}},
		{"sriovNetSupport", i.SriovNet, []string{"", "simple"}},
		{"enaSupport", i.ENA, []string{"", "true"}},
	} {
		if !slices.Contains(x.allowed, x.value) {
			return Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid", x.value, x.name)
		}
	}
	switch {
	case i.Virtualization == "paravirtual" && (i.ENA != "" || i.SriovNet != ""): // "This option is supported only for HVM AMIs"
		return Errorf("InvalidParameterCombination", "enhanced networking is for HVM only")
	case i.TPM != "" && i.BootMode != "uefi": // "NitroTPM": the boot mode must be uefi
		return Errorf("InvalidParameterCombination", "TpmSupport requires boot mode uefi")
	case i.RootDeviceName == "":
		return Errorf("MissingParameter", "rootDeviceName")
	}
	if _, err := base64.StdEncoding.DecodeString(uefi); err != nil {
		return Errorf("InvalidParameterValue", "uefiData is not base64")
	}
	return nil
}

// devices reads the request's block device mappings.
func (c *Call) devices() ([]deviceItem, *Error) {
	var out []deviceItem
	for n := 1; ; n++ {
		p := fmt.Sprintf("BlockDeviceMapping.%d", n)
		d := deviceItem{DeviceName: c.Get(p + ".DeviceName"), VirtualName: c.Get(p + ".VirtualName")}
		if d.DeviceName == "" {
			return out, nil
		}
		e := &ebsItem{
			DeleteOnTermination: or(c.Get(p+".Ebs.DeleteOnTermination"), "true"), IOPS: c.Get(p + ".Ebs.Iops"), SnapshotID: c.Get(p + ".Ebs.SnapshotId"),
			Throughput: c.Get(p + ".Ebs.Throughput"), VolumeSize: c.Get(p + ".Ebs.VolumeSize"), VolumeType: or(c.Get(p+".Ebs.VolumeType"), "gp2"),
		}
		if d.VirtualName != "" {
			out = append(out, d)
			continue
		}
		d.EBS = e
		if c.Get(p+".Ebs.KmsKeyId") != "" { // "only on BlockDeviceMapping objects called by RunInstances, RequestSpotFleet, ..": [API: EbsBlockDevice]
			return nil, Errorf("InvalidParameterCombination", "KmsKeyId is not for RegisterImage")
		}
		encrypted := c.Get(p + ".Ebs.Encrypted")
		if e.SnapshotID != "" {
			// [API: RegisterImage, BlockDeviceMapping] "If you specify an Amazon EBS volume using the ID of an Amazon EBS
			// snapshot, you can't specify the encryption state of the volume."
			if encrypted != "" {
				return nil, Errorf("InvalidParameterCombination", "the parameter Encrypted cannot be used with a snapshot")
			}
			s := c.World.Snapshot(e.SnapshotID)
			switch {
			case s == nil || s.Owner != world.Account: // [API: "the snapshot .. must be owned by you"]
				return nil, Errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", e.SnapshotID)
			case s.State != "completed":
				return nil, Errorf("InvalidSnapshot.IncorrectState", "snapshot %s is %s", s.ID, s.State)
			}
			e.Encrypted, e.KMSKeyID = s.Encrypted, ""
			size, err := strconv.ParseInt(or(e.VolumeSize, strconv.FormatInt(s.SizeGiB, 10)), 10, 64)
			if err != nil || size < s.SizeGiB { // "must be equal to or larger than the snapshot size"
				return nil, Errorf("InvalidBlockDeviceMapping", "volume of size %sGB is smaller than snapshot '%s'", e.VolumeSize, s.ID)
			}
			e.VolumeSize = strconv.FormatInt(size, 10)
		}
		out = append(out, d)
	}
}

// tagSpecification reads the tags for one type of resource.
func (c *Call) tagSpecification(kind string) ([]Tag, *Error) {
	var out []Tag
	for i := 1; c.Form.Has(fmt.Sprintf("TagSpecification.%d.ResourceType", i)); i++ {
		p := fmt.Sprintf("TagSpecification.%d", i)
		if got := c.Get(p + ".ResourceType"); got != kind {
			return nil, Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", got)
		}
		for j := 1; c.Form.Has(fmt.Sprintf("%s.Tag.%d.Key", p, j)); j++ {
			q := fmt.Sprintf("%s.Tag.%d", p, j)
			t := Tag{c.Get(q + ".Key"), c.Get(q + ".Value")}
			if strings.HasPrefix(strings.ToLower(t.Key), "aws:") { // reserved
				return nil, Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
			}
			out = append(out, t)
		}
	}
	return out, nil
}

func deregisterImage(c *Call) (any, *Error) {
	id := c.Get("ImageId")
	if !slices.ContainsFunc(c.of("image"), func(r resource) bool { return r.id == id }) {
		return nil, Errorf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	c.Drop("image", id)
	return item{"<requestId>r</requestId><return>true</return>"}, nil
}

// deleteSnapshot refuses those that an AMI is made of [ERR: InvalidSnapshot.InUse].
func deleteSnapshot(c *Call) (any, *Error) {
	id := c.Get("SnapshotId")
	if c.World.Snapshot(id) == nil {
		return nil, Errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	for _, r := range c.of("image") {
		if strings.Contains(r.inner, "<snapshotId>"+id+"<") {
			return nil, Errorf("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, r.id)
		}
	}
	c.World.Remove(id)
	return item{"<requestId>r</requestId><return>true</return>"}, nil
}

// modifyImageAttribute adds launch permissions [API: ModifyImageAttribute].
func modifyImageAttribute(c *Call) (any, *Error) {
	id := c.Get("ImageId")
	if !slices.ContainsFunc(c.of("image"), func(r resource) bool { return r.id == id }) {
		return nil, Errorf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	if a := c.Get("Attribute"); a != "" && a != "launchPermission" {
		return nil, Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid", a)
	}
	var all strings.Builder
	for i := 1; ; i++ {
		p := fmt.Sprintf("LaunchPermission.Add.%d", i)
		before := all.Len()
		for _, f := range []string{"Group", "OrganizationalUnitArn", "OrganizationArn", "UserId"} {
			if v := c.Get(p + "." + f); v != "" {
				if f == "Group" && v != "all" {
					return nil, Errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value %q", v)
				}
				fmt.Fprintf(&all, "<item><%s>%s</%s></item>", lower(f), v, lower(f))
			}
		}
		if all.Len() == before {
			break
		}
	}
	c.SetAttribute(id, "launchPermission", "<launchPermission>"+all.String()+"</launchPermission>")
	return item{"<requestId>r</requestId><return>true</return>"}, nil
}
