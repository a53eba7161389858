package toterraform

import (
	"fmt"
	"slices"
)

// required is what the documentation of the provider hashicorp/aws says of a resource's arguments.
type required struct {
	all   []string                             // each of them
	oneOf []string                             // exactly one of them, if there are any
	when  func(map[string]any) (also []string) // more, depending on what is given; may be nil
	page  string                               // website/docs/r/PAGE of github.com/hashicorp/terraform-provider-aws, at
	at    string                               // this commit
}

// requirements is the table that every resource is held against before it is written. Later versions of the provider's
// documentation (6) let cidr_block be replaced by an IPAM pool, which is not what AWS describes of a VPC; so it is required
// here as before. aws_eip's argument vpc became domain in version 5.
func requirements() map[string]required {
	rule := func(page string) required {
		return required{
			all:   []string{"security_group_id", "ip_protocol"},
			oneOf: []string{"cidr_ipv4", "cidr_ipv6", "prefix_list_id", "referenced_security_group_id"},
			when: func(a map[string]any) []string {
				// "required unless ip_protocol is set to -1 or icmpv6"
				if p := a["ip_protocol"]; p == "-1" || p == "icmpv6" {
					return nil
				}
				return []string{"from_port", "to_port"}
			},
			page: page, at: "1997e57c9db9c44431d1b6bb08be1a283e27b6d8",
		}
	}
	return map[string]required{
		"aws_vpc":                             {all: []string{"cidr_block"}, page: "vpc.html.markdown", at: "0148137dc6fb802b97b74036846777ab15c0f9ad"},
		"aws_subnet":                          {all: []string{"vpc_id", "cidr_block"}, page: "subnet.html.markdown", at: "03e1f42732ce5cab074a88529dbc26874583e8c6"},
		"aws_security_group":                  {all: []string{"name"}, page: "security_group.html.markdown", at: "0148137dc6fb802b97b74036846777ab15c0f9ad"}, // optional there: without it, another name
		"aws_vpc_security_group_ingress_rule": rule("vpc_security_group_ingress_rule.html.markdown"),
		"aws_vpc_security_group_egress_rule":  rule("vpc_security_group_egress_rule.html.markdown"),
		// "Required unless launch_template is specified", which is not written here.
		"aws_instance":        {all: []string{"ami", "instance_type"}, page: "instance.html.markdown", at: "00d98e75afb601c41dad4ff0bdc8398e9910f5b7"},
		"aws_launch_template": {all: []string{"name"}, when: devicesNamed, page: "launch_template.html.markdown", at: "00a35305dc1b297a6fcdecdfbba33f1e63c3da39"},
		"aws_eip":             {page: "eip.html.markdown", at: "0148137dc6fb802b97b74036846777ab15c0f9ad"},
	}
}

// devicesNamed: in block_device_mappings "device_name - (Required)".
func devicesNamed(a map[string]any) []string {
	list, _ := a["block_device_mappings"].([]any)
	for _, m := range list {
		if d, _ := m.(map[string]any); d["device_name"] == nil {
			return []string{"block_device_mappings.device_name"}
		}
	}
	return nil
}

// resource is one block of configuration.
type resource struct {
	kind, name string
	arguments  map[string]any
}

// check holds a resource to the table.
func (r resource) check() error {
	want, ok := requirements()[r.kind]
	if !ok {
		return fmt.Errorf("no table of the arguments of %s", r.kind)
	}
	all := slices.Clone(want.all)
	if want.when != nil {
		all = append(all, want.when(r.arguments)...)
	}
	for _, name := range all {
		if r.arguments[name] == nil {
			return fmt.Errorf("%s %s has no %s, which the provider requires", r.kind, r.name, name)
		}
	}
	n := 0
	for _, name := range want.oneOf {
		if r.arguments[name] != nil {
			n++
		}
	}
	if len(want.oneOf) > 0 && n != 1 {
		return fmt.Errorf("%s %s has %d of %v, and the provider requires one", r.kind, r.name, n, want.oneOf)
	}
	return nil
}
