package toterraform

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// converter turns the documents of one kind into resources.
type converter struct {
	resource string // what others refer to
	convert  func(d definition, refs references) ([]resource, error)
}

func converters() map[string]converter {
	return map[string]converter{
		"vpc":             {"aws_vpc", vpc},
		"subnet":          {"aws_subnet", subnet},
		"security-group":  {"aws_security_group", securityGroup},
		"instance":        {"aws_instance", instance},
		"launch-template": {"aws_launch_template", launchTemplate},
		"address":         {"aws_eip", address},
	}
}

// references are the resources that are written, by the old ID.
type references map[string]string

// id refers to a resource that is written, or gives the old ID of one that is not. Nothing gives nil.
func (r references) id(old string) any {
	switch {
	case old == "":
		return nil
	case r[old] != "":
		return "${" + r[old] + ".id}"
	}
	return text(old)
}

// text is a string that Terraform takes as it is.
func text(s string) any {
	if s == "" {
		return nil
	}
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s)
}

// nameOf is a resource's name: letters, digits, dashes and underscores, not a digit first.
func nameOf(id string) string { return strings.NewReplacer(".", "_").Replace(id) }

// make leaves out what is not set.
func build(kind, id string, arguments map[string]any) resource {
	maps.DeleteFunc(arguments, func(_ string, v any) bool {
		switch v := v.(type) {
		case nil:
			return true
		case []any:
			return len(v) == 0
		case map[string]any:
			return len(v) == 0
		}
		return false
	})
	return resource{kind, nameOf(id), arguments}
}

type tag struct{ Key, Value string }

// tags leaves out those that AWS sets.
func tags(list []tag) any {
	out := map[string]any{}
	for _, t := range list {
		if !strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			out[fmt.Sprint(text(t.Key))] = strings.NewReplacer("${", "$${", "%{", "%%{").Replace(t.Value)
		}
	}
	return out
}

// value is an attribute of Describe*Attribute.
type value[T any] struct{ Value *T }

// given gives what a pointer points at, or nothing.
func given[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func parse(d definition, into any) error {
	if err := json.Unmarshal(d.doc, into); err != nil {
		return fmt.Errorf("the definition of %s: %w: %w", d.id, format.ErrMalformed, err)
	}
	return nil
}

func vpc(d definition, _ references) ([]resource, error) {
	var v struct {
		Vpc struct {
			CidrBlock, InstanceTenancy  string
			Tags                        []tag
			Ipv6CidrBlockAssociationSet []any
		}
		VpcAttribute struct {
			EnableDnsSupport, EnableDnsHostnames value[bool]
		}
	}
	if err := parse(d, &v); err != nil {
		return nil, err
	}
	a := map[string]any{
		"cidr_block": text(v.Vpc.CidrBlock), "instance_tenancy": text(v.Vpc.InstanceTenancy), "tags": tags(v.Vpc.Tags),
		"enable_dns_support": given(v.VpcAttribute.EnableDnsSupport.Value), "enable_dns_hostnames": given(v.VpcAttribute.EnableDnsHostnames.Value),
	}
	if len(v.Vpc.Ipv6CidrBlockAssociationSet) > 0 {
		a["assign_generated_ipv6_cidr_block"] = true
		a["//"] = "It gets another IPv6 range from AWS than it had."
	}
	return []resource{build("aws_vpc", d.id, a)}, nil
}

func subnet(d definition, refs references) ([]resource, error) {
	var v struct {
		Subnet struct {
			VpcId, CidrBlock, AvailabilityZone               string
			MapPublicIpOnLaunch, AssignIpv6AddressOnCreation *bool
			Tags                                             []tag
		}
	}
	if err := parse(d, &v); err != nil {
		return nil, err
	}
	s := v.Subnet
	return []resource{build("aws_subnet", d.id, map[string]any{
		"vpc_id": refs.id(s.VpcId), "cidr_block": text(s.CidrBlock), "availability_zone": text(s.AvailabilityZone),
		"map_public_ip_on_launch": given(s.MapPublicIpOnLaunch), "assign_ipv6_address_on_creation": given(s.AssignIpv6AddressOnCreation), "tags": tags(s.Tags),
	})}, nil
}

// securityGroup writes a group and each of its rules as a resource of its own, as the provider's documentation advises.
func securityGroup(d definition, refs references) ([]resource, error) {
	var v struct {
		SecurityGroup struct {
			GroupName, Description, VpcId string
			Tags                          []tag
		}
		SecurityGroupRules []struct {
			SecurityGroupRuleId, IpProtocol, CidrIpv4, CidrIpv6, PrefixListId, Description string
			FromPort, ToPort                                                               *int64
			IsEgress                                                                       bool
			ReferencedGroupInfo                                                            struct{ GroupId, UserId string }
			Tags                                                                           []tag
		}
	}
	if err := parse(d, &v); err != nil {
		return nil, err
	}
	g := v.SecurityGroup
	group := map[string]any{"name": text(g.GroupName), "description": text(g.Description), "vpc_id": refs.id(g.VpcId), "tags": tags(g.Tags)}
	if g.GroupName == "default" {
		group["//"] = "AWS makes a group of this name in every VPC and lets nobody make another: rename it, or use aws_default_security_group."
	}
	out := []resource{build("aws_security_group", d.id, group)}
	for _, r := range v.SecurityGroupRules {
		kind := "aws_vpc_security_group_ingress_rule"
		if r.IsEgress {
			kind = "aws_vpc_security_group_egress_rule"
		}
		a := map[string]any{
			"security_group_id": refs.id(d.id), "ip_protocol": text(r.IpProtocol), "cidr_ipv4": text(r.CidrIpv4), "cidr_ipv6": text(r.CidrIpv6),
			"prefix_list_id": text(r.PrefixListId), "referenced_security_group_id": refs.id(r.ReferencedGroupInfo.GroupId),
			"description": text(r.Description), "from_port": given(r.FromPort), "to_port": given(r.ToPort), "tags": tags(r.Tags),
		}
		if r.IpProtocol == "-1" { // "from_port and to_port values should not be defined"
			a["from_port"], a["to_port"] = nil, nil
		}
		out = append(out, build(kind, r.SecurityGroupRuleId, a))
	}
	return out, nil
}

func address(d definition, refs references) ([]resource, error) {
	var v struct {
		Address struct {
			PublicIp, InstanceId, NetworkInterfaceId, PrivateIpAddress, NetworkBorderGroup, PublicIpv4Pool string
			Tags                                                                                           []tag
		}
	}
	if err := parse(d, &v); err != nil {
		return nil, err
	}
	x := v.Address
	a := map[string]any{
		"domain": "vpc", "instance": refs.id(x.InstanceId), "network_border_group": text(x.NetworkBorderGroup), "tags": tags(x.Tags),
		"//": "It was " + x.PublicIp + "; AWS gives another one, unless the address is still yours: then import it.",
	}
	if x.InstanceId == "" {
		a["network_interface"] = text(x.NetworkInterfaceId)
	}
	if x.InstanceId != "" || x.NetworkInterfaceId != "" {
		a["associate_with_private_ip"] = text(x.PrivateIpAddress)
	}
	if x.PublicIpv4Pool != "" && x.PublicIpv4Pool != "amazon" {
		a["public_ipv4_pool"], a["address"] = text(x.PublicIpv4Pool), text(x.PublicIp)
	}
	return []resource{build("aws_eip", d.id, a)}, nil
}

// left says which members of a document are not written.
func left(doc map[string]json.RawMessage, written ...string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if !slices.Contains(written, name) {
			out = append(out, name)
		}
	}
	return out
}
