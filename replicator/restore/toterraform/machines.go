package toterraform

import (
	"encoding/json"
	"fmt"
	"strings"
)

type metadataOptions struct {
	HttpEndpoint, HttpTokens, InstanceMetadataTags, HttpProtocolIpv6 string
	HttpPutResponseHopLimit                                          *int64
}

func (m metadataOptions) block() any {
	return build("", "", map[string]any{
		"http_endpoint": text(m.HttpEndpoint), "http_tokens": text(m.HttpTokens), "instance_metadata_tags": text(m.InstanceMetadataTags),
		"http_protocol_ipv6": text(m.HttpProtocolIpv6), "http_put_response_hop_limit": given(m.HttpPutResponseHopLimit),
	}).arguments
}

// profile is the name in the ARN of an instance profile.
func profile(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// instanceFields are the members of an instance that are written, or that say how it was and not how it is made.
const instanceFields = "AmiLaunchIndex Architecture BlockDeviceMappings BootMode ClientToken CurrentInstanceBootMode EbsOptimized EnaSupport Hypervisor " +
	"IamInstanceProfile ImageId InstanceId InstanceType KeyName LaunchTime MetadataOptions Monitoring NetworkInterfaces PlatformDetails Placement " +
	"PrivateDnsName PrivateIpAddress PublicDnsName PublicIpAddress RootDeviceName RootDeviceType SecurityGroups SourceDestCheck State StateReason " +
	"StateTransitionReason SubnetId Tags UsageOperation UsageOperationUpdateTime VirtualizationType VpcId SriovNetSupport TpmSupport"

func instance(d definition, refs references) ([]resource, error) {
	var v struct {
		Instance struct {
			ImageId, InstanceType, KeyName, SubnetId, PrivateIpAddress, RootDeviceName string
			EbsOptimized, SourceDestCheck                                              *bool
			IamInstanceProfile                                                         struct{ Arn string }
			Monitoring                                                                 struct{ State string }
			Placement                                                                  struct{ AvailabilityZone, Tenancy, GroupName string }
			MetadataOptions                                                            metadataOptions
			SecurityGroups                                                             []struct{ GroupId string }
			BlockDeviceMappings                                                        []struct {
				DeviceName string
				Ebs        struct {
					VolumeId            string
					DeleteOnTermination *bool
				}
			}
			Tags []tag
		}
		InstanceAttribute struct {
			UserData, InstanceInitiatedShutdownBehavior value[string]
			DisableApiTermination, DisableApiStop       value[bool]
		}
	}
	if err := parse(d, &v); err != nil {
		return nil, err
	}
	x, at := v.Instance, v.InstanceAttribute
	a := map[string]any{
		"ami": text(x.ImageId), "instance_type": text(x.InstanceType), "key_name": text(x.KeyName), "subnet_id": refs.id(x.SubnetId),
		"private_ip": text(x.PrivateIpAddress), "ebs_optimized": given(x.EbsOptimized), "source_dest_check": given(x.SourceDestCheck),
		"iam_instance_profile": text(profile(x.IamInstanceProfile.Arn)), "availability_zone": text(x.Placement.AvailabilityZone),
		"tenancy": text(x.Placement.Tenancy), "placement_group": text(x.Placement.GroupName), "metadata_options": x.MetadataOptions.block(),
		"disable_api_termination": given(at.DisableApiTermination.Value), "disable_api_stop": given(at.DisableApiStop.Value), "tags": tags(x.Tags),
	}
	if x.Monitoring.State != "" {
		a["monitoring"] = x.Monitoring.State == "enabled"
	}
	if b := at.InstanceInitiatedShutdownBehavior.Value; b != nil {
		a["instance_initiated_shutdown_behavior"] = text(*b)
	}
	if u := at.UserData.Value; u != nil {
		a["user_data_base64"] = text(*u)
	}
	var groups, volumes []any
	for _, g := range x.SecurityGroups {
		groups = append(groups, refs.id(g.GroupId))
	}
	a["vpc_security_group_ids"] = groups
	for _, m := range x.BlockDeviceMappings {
		if m.DeviceName == x.RootDeviceName {
			a["root_block_device"] = build("", "", map[string]any{"delete_on_termination": given(m.Ebs.DeleteOnTermination)}).arguments
			continue
		}
		volumes = append(volumes, m.DeviceName+" was "+m.Ebs.VolumeId)
	}
	comment := fmt.Sprintf("%s is the AMI as it was: put the restored one's ID here.", x.ImageId)
	if len(volumes) > 0 {
		comment += fmt.Sprintf(" Volumes beside the root are not here: %v.", volumes)
	}
	a["//"] = comment + unwritten(d, "Instance", instanceFields)
	return []resource{build("aws_instance", d.id, a)}, nil
}

// unwritten names the members of one part of a document that are not known here.
func unwritten(d definition, part, known string) string {
	var doc map[string]json.RawMessage
	var inner map[string]json.RawMessage
	if json.Unmarshal(d.doc, &doc) != nil || json.Unmarshal(doc[part], &inner) != nil {
		return ""
	}
	return notHere(inner, known)
}

func notHere(doc map[string]json.RawMessage, known string) string {
	if rest := left(doc, strings.Fields(known)...); len(rest) > 0 {
		return " Not written, see the definition itself: " + strings.Join(rest, ", ") + "."
	}
	return ""
}

// templateFields are the members of a template's data that are written.
const templateFields = "BlockDeviceMappings DisableApiStop DisableApiTermination EbsOptimized IamInstanceProfile ImageId InstanceInitiatedShutdownBehavior " +
	"InstanceType KeyName MetadataOptions Monitoring SecurityGroupIds TagSpecifications UserData"

type templateData struct {
	ImageId, InstanceType, KeyName, UserData, InstanceInitiatedShutdownBehavior string
	EbsOptimized, DisableApiStop, DisableApiTermination                         *bool
	SecurityGroupIds                                                            []string
	IamInstanceProfile                                                          struct{ Arn, Name string }
	Monitoring                                                                  *struct{ Enabled *bool }
	MetadataOptions                                                             metadataOptions
	TagSpecifications                                                           []struct {
		ResourceType string
		Tags         []tag
	}
	BlockDeviceMappings []struct {
		DeviceName, VirtualName string
		NoDevice                *string
		Ebs                     *struct {
			SnapshotId, VolumeType, KmsKeyId string
			VolumeSize, Iops, Throughput     *int64
			DeleteOnTermination, Encrypted   *bool
		}
	}
}

// launchTemplate writes the newest version: Terraform makes versions, it does not take them.
func launchTemplate(d definition, refs references) ([]resource, error) {
	var v struct {
		LaunchTemplate struct {
			LaunchTemplateName                        string
			DefaultVersionNumber, LatestVersionNumber int64
			Tags                                      []tag
		}
		LaunchTemplateVersions []struct {
			VersionNumber      int64
			VersionDescription string
			LaunchTemplateData json.RawMessage
		}
	}
	if err := parse(d, &v); err != nil {
		return nil, err
	}
	if len(v.LaunchTemplateVersions) == 0 {
		return nil, fmt.Errorf("the definition of %s has no versions: they could not be read when the point was made", d.id)
	}
	newest := v.LaunchTemplateVersions[len(v.LaunchTemplateVersions)-1]
	var data templateData
	var members map[string]json.RawMessage
	for _, into := range []any{&data, &members} {
		if err := parse(definition{id: d.id, doc: newest.LaunchTemplateData}, into); err != nil {
			return nil, err
		}
	}
	a := data.arguments(refs)
	a["name"], a["description"], a["tags"] = text(v.LaunchTemplate.LaunchTemplateName), text(newest.VersionDescription), tags(v.LaunchTemplate.Tags)
	comment := fmt.Sprintf("This is version %d of %d; the default was %d.", newest.VersionNumber, len(v.LaunchTemplateVersions), v.LaunchTemplate.DefaultVersionNumber)
	if data.ImageId != "" {
		comment += " " + data.ImageId + " is the AMI as it was: put the restored one's ID here."
	}
	a["//"] = comment + notHere(members, templateFields)
	return []resource{build("aws_launch_template", d.id, a)}, nil
}

func (t *templateData) arguments(refs references) map[string]any {
	a := map[string]any{
		"image_id": text(t.ImageId), "instance_type": text(t.InstanceType), "key_name": text(t.KeyName), "user_data": text(t.UserData),
		"instance_initiated_shutdown_behavior": text(t.InstanceInitiatedShutdownBehavior), "ebs_optimized": given(t.EbsOptimized),
		"disable_api_stop": given(t.DisableApiStop), "disable_api_termination": given(t.DisableApiTermination), "metadata_options": t.MetadataOptions.block(),
	}
	if t.IamInstanceProfile.Name != "" {
		a["iam_instance_profile"] = map[string]any{"name": text(t.IamInstanceProfile.Name)}
	} else if t.IamInstanceProfile.Arn != "" {
		a["iam_instance_profile"] = map[string]any{"name": text(profile(t.IamInstanceProfile.Arn))}
	}
	if t.Monitoring != nil && t.Monitoring.Enabled != nil {
		a["monitoring"] = map[string]any{"enabled": *t.Monitoring.Enabled}
	}
	var groups, specs, devices []any
	for _, g := range t.SecurityGroupIds {
		groups = append(groups, refs.id(g))
	}
	for _, s := range t.TagSpecifications {
		specs = append(specs, build("", "", map[string]any{"resource_type": text(s.ResourceType), "tags": tags(s.Tags)}).arguments)
	}
	for _, m := range t.BlockDeviceMappings {
		b := map[string]any{"device_name": text(m.DeviceName), "virtual_name": text(m.VirtualName), "no_device": given(m.NoDevice)}
		if e := m.Ebs; e != nil {
			ebs := map[string]any{
				"snapshot_id": text(e.SnapshotId), "volume_type": text(e.VolumeType), "kms_key_id": text(e.KmsKeyId), "volume_size": given(e.VolumeSize),
				"iops": given(e.Iops), "throughput": given(e.Throughput), "delete_on_termination": given(e.DeleteOnTermination),
			}
			if e.SnapshotId == "" { // "Cannot be used with snapshot_id"
				ebs["encrypted"] = given(e.Encrypted)
			}
			b["ebs"] = build("", "", ebs).arguments
		}
		devices = append(devices, build("", "", b).arguments)
	}
	a["vpc_security_group_ids"], a["tag_specifications"], a["block_device_mappings"] = groups, specs, devices
	return a
}
