package toami

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
)

// compare holds an AMI as EC2 describes it against what was asked for.
func (t *Target) compare(ctx context.Context, in *ec2.RegisterImageInput, got *types.Image) error {
	var wrong []string
	same := func(what, want, is string) {
		if want != is {
			wrong = append(wrong, fmt.Sprintf("%s is %q instead of %q", what, is, want))
		}
	}
	same("name", *in.Name, aws.ToString(got.Name))
	same("description", aws.ToString(in.Description), aws.ToString(got.Description))
	same("architecture", string(in.Architecture), string(got.Architecture))
	same("virtualization type", aws.ToString(in.VirtualizationType), string(got.VirtualizationType))
	same("root device", aws.ToString(in.RootDeviceName), aws.ToString(got.RootDeviceName))
	same("ENA support", fmt.Sprint(aws.ToBool(in.EnaSupport)), fmt.Sprint(aws.ToBool(got.EnaSupport)))
	same("SR-IOV support", aws.ToString(in.SriovNetSupport), aws.ToString(got.SriovNetSupport))
	same("boot mode", string(in.BootMode), string(got.BootMode))
	same("TPM support", string(in.TpmSupport), string(got.TpmSupport))
	same("IMDS support", string(in.ImdsSupport), string(got.ImdsSupport))
	same("kernel", aws.ToString(in.KernelId), aws.ToString(got.KernelId))
	same("RAM disk", aws.ToString(in.RamdiskId), aws.ToString(got.RamdiskId))
	var tags []types.Tag
	for _, s := range in.TagSpecifications {
		tags = append(tags, s.Tags...)
	}
	same("tags", tagText(tags), tagText(ownTags(got.Tags)))
	wrong = append(wrong, devices(in.BlockDeviceMappings, got.BlockDeviceMappings)...)
	if in.UefiData != nil {
		out, err := t.api.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: got.ImageId, Attribute: types.ImageAttributeNameUefiData})
		if err != nil {
			return awsclient.Explain("read the UEFI data of "+aws.ToString(got.ImageId)+" back", err)
		}
		is := ""
		if out.UefiData != nil {
			is = aws.ToString(out.UefiData.Value)
		}
		if is != *in.UefiData {
			wrong = append(wrong, "the UEFI data is not what was given")
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}

func tagText(tags []types.Tag) string {
	var out []string
	for _, t := range tags {
		out = append(out, aws.ToString(t.Key)+"="+aws.ToString(t.Value))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// devices says which of the devices that were asked for are others. What was left to AWS is not compared: a size that is not
// given is the snapshot's.
func devices(asked, got []types.BlockDeviceMapping) (wrong []string) {
	if len(asked) != len(got) {
		wrong = append(wrong, fmt.Sprintf("%d devices instead of %d", len(got), len(asked)))
	}
	for _, a := range asked {
		name := aws.ToString(a.DeviceName)
		i := slices.IndexFunc(got, func(g types.BlockDeviceMapping) bool { return aws.ToString(g.DeviceName) == name })
		if i < 0 {
			wrong = append(wrong, "no device "+name)
			continue
		}
		for _, x := range [][3]string{
			{"virtual name", aws.ToString(a.VirtualName), aws.ToString(got[i].VirtualName)},
			{"volume", volumeText(a.Ebs, a.Ebs), volumeText(a.Ebs, got[i].Ebs)},
		} {
			if x[1] != x[2] {
				wrong = append(wrong, fmt.Sprintf("%s of %s is %q instead of %q", x[0], name, x[2], x[1]))
			}
		}
	}
	return wrong
}

// volumeText says of a volume what was asked for.
func volumeText(asked, v *types.EbsBlockDevice) string {
	if asked == nil || v == nil {
		return fmt.Sprintf("volume: %t", v != nil)
	}
	s := aws.ToString(v.SnapshotId)
	if asked.VolumeType != "" {
		s += " " + string(v.VolumeType)
	}
	if asked.DeleteOnTermination != nil {
		s += fmt.Sprintf(" delete=%t", aws.ToBool(v.DeleteOnTermination))
	}
	if asked.Encrypted != nil {
		s += fmt.Sprintf(" encrypted=%t", aws.ToBool(v.Encrypted))
	}
	for _, n := range []struct {
		what      string
		asked, is *int32
	}{{"GiB", asked.VolumeSize, v.VolumeSize}, {"IOPS", asked.Iops, v.Iops}, {"MiB/s", asked.Throughput, v.Throughput}} {
		if n.asked != nil {
			s += fmt.Sprintf(" %d %s", aws.ToInt32(n.is), n.what)
		}
	}
	return s
}

// lost notes what of an AMI nobody but AWS or its vendor can give back, and what was left out on purpose.
func (t *Target) lost(d *Definition, got *types.Image) {
	was, id := &d.Image, aws.ToString(got.ImageId)
	if aws.ToString(was.PlatformDetails) != aws.ToString(got.PlatformDetails) || aws.ToString(was.UsageOperation) != aws.ToString(got.UsageOperation) {
		t.note("%s is billed as %s (%s) and was as %s (%s): licences that came with the billing are not there", id,
			aws.ToString(got.PlatformDetails), aws.ToString(got.UsageOperation), aws.ToString(was.PlatformDetails), aws.ToString(was.UsageOperation))
	}
	for _, c := range was.ProductCodes {
		t.note("%s has no product code %s (%s)", id, aws.ToString(c.ProductCodeId), c.ProductCodeType)
	}
	var shared []string
	for _, p := range d.ImageAttribute.LaunchPermissions {
		for _, who := range []string{string(p.Group), aws.ToString(p.UserId), aws.ToString(p.OrganizationArn), aws.ToString(p.OrganizationalUnitArn)} {
			if who != "" {
				shared = append(shared, who)
			}
		}
	}
	if len(shared) > 0 {
		t.note("%s is private; the AMI it was could be launched by %s", id, strings.Join(shared, ", "))
	}
	if aws.ToString(was.DeprecationTime) != "" {
		t.note("%s has no deprecation time; it was %s", id, aws.ToString(was.DeprecationTime))
	}
	if p := aws.ToString(was.DeregistrationProtection); p != "" && p != "disabled" {
		t.note("%s has no deregistration protection; it was %s", id, p)
	}
}
