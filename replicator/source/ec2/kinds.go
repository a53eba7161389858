package ec2source

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
)

// kind is a kind of resource: the first part of its keys, what is asked for to find it, and how.
type kind struct {
	name   string
	action string
	list   func(ctx context.Context, r *reading) error
}

// kinds lists what is read.
func kinds() []kind {
	return []kind{
		{"image", "ec2:DescribeImages", images},
		{"instance", "ec2:DescribeInstances", instances},
		{"volume", "ec2:DescribeVolumes", volumes},
		{"network-interface", "ec2:DescribeNetworkInterfaces", interfaces},
		{"address", "ec2:DescribeAddresses", addresses},
		{"security-group", "ec2:DescribeSecurityGroups", securityGroups},
		{"subnet", "ec2:DescribeSubnets", subnets},
		{"route-table", "ec2:DescribeRouteTables", routeTables},
		{"vpc", "ec2:DescribeVpcs", vpcs},
		{"internet-gateway", "ec2:DescribeInternetGateways", internetGateways},
		{"nat-gateway", "ec2:DescribeNatGateways", natGateways},
		{"network-acl", "ec2:DescribeNetworkAcls", networkACLs},
		{"dhcp-options", "ec2:DescribeDhcpOptions", dhcpOptions},
		{"key-pair", "ec2:DescribeKeyPairs", keyPairs},
		{"launch-template", "ec2:DescribeLaunchTemplates", launchTemplates},
		{"auto-scaling-group", "autoscaling:DescribeAutoScalingGroups", scalingGroups},
		{"launch-configuration", "autoscaling:DescribeLaunchConfigurations", launchConfigurations},
		{"load-balancer", "elasticloadbalancing:DescribeLoadBalancers", loadBalancers},
		{"target-group", "elasticloadbalancing:DescribeTargetGroups", targetGroups},
	}
}

// pageSize is how many resources a page has, at most as many as every paged call allows. What is asked for in pages has a
// larger allowance of requests than what is asked for at once.
func pageSize() *int32 { return aws.Int32(100) }

// tagged gives the filters that the options' tags come to; nil for none.
func (r *reading) tagged() []types.Filter {
	var out []types.Filter
	for _, t := range r.o.Tags {
		out = append(out, types.Filter{Name: aws.String("tag:" + t.Key), Values: []string{t.Value}})
	}
	return out
}

// attribute asks for one more thing about a resource. What is refused is recorded once for all resources of the kind; a
// resource that is gone since it was listed has none.
func (r *reading) attribute(kind, attribute, action string, ask func() error) error {
	err := ask()
	if err == nil || gone(err) {
		return nil
	}
	if why, ok := refused(err); ok {
		r.lost(kind+"/*."+attribute, why+" ("+actionOf(err, action)+")")
		return nil
	}
	return err
}

// manyAtOnce is how many resources of one kind have their attributes asked for at once.
const manyAtOnce = 8

func vpcs(ctx context.Context, r *reading) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(manyAtOnce)
	err := awsclient.Pages(gctx, ec2.NewDescribeVpcsPaginator(r.clients.ec2, &ec2.DescribeVpcsInput{MaxResults: pageSize()}), func(page *ec2.DescribeVpcsOutput) error {
		for _, v := range page.Vpcs {
			g.Go(func() error { return r.vpc(gctx, v) })
		}
		return nil
	})
	return firstOf(g.Wait(), err)
}

func (r *reading) vpc(ctx context.Context, v types.Vpc) error {
	d := document{"Vpc": fields(v)}
	attributes := document{}
	for _, a := range []types.VpcAttributeName{types.VpcAttributeNameEnableDnsSupport, types.VpcAttributeNameEnableDnsHostnames} {
		err := r.attribute("vpc", string(a), "ec2:DescribeVpcAttribute", func() error {
			out, err := r.clients.ec2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: v.VpcId, Attribute: a})
			if err == nil {
				attributes.merge(fields(*out, "VpcId"))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	d.set("VpcAttribute", attributes)
	return r.keep("vpc", aws.ToString(v.VpcId), nil, d)
}

// merge adds what another document has.
func (d document) merge(o document) {
	for k, v := range o {
		d[k] = v
	}
}

// set adds a part unless it is empty.
func (d document) set(name string, part document) {
	if len(part) > 0 {
		d[name] = map[string]any(part)
	}
}

// firstOf prefers the error of goroutines over one that may come of their context's end.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func subnets(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeSubnetsPaginator(r.clients.ec2, &ec2.DescribeSubnetsInput{MaxResults: pageSize()}), func(page *ec2.DescribeSubnetsOutput) error {
		for _, x := range page.Subnets {
			if err := r.keep("subnet", aws.ToString(x.SubnetId), nil, document{"Subnet": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func routeTables(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeRouteTablesPaginator(r.clients.ec2, &ec2.DescribeRouteTablesInput{MaxResults: pageSize()}), func(page *ec2.DescribeRouteTablesOutput) error {
		for _, x := range page.RouteTables {
			if err := r.keep("route-table", aws.ToString(x.RouteTableId), nil, document{"RouteTable": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func internetGateways(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeInternetGatewaysPaginator(r.clients.ec2, &ec2.DescribeInternetGatewaysInput{MaxResults: pageSize()}), func(page *ec2.DescribeInternetGatewaysOutput) error {
		for _, x := range page.InternetGateways {
			if err := r.keep("internet-gateway", aws.ToString(x.InternetGatewayId), nil, document{"InternetGateway": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func natGateways(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeNatGatewaysPaginator(r.clients.ec2, &ec2.DescribeNatGatewaysInput{MaxResults: pageSize()}), func(page *ec2.DescribeNatGatewaysOutput) error {
		for _, x := range page.NatGateways {
			if x.State == types.NatGatewayStateDeleted || x.State == types.NatGatewayStateDeleting {
				continue // listed for an hour after it was deleted
			}
			if err := r.keep("nat-gateway", aws.ToString(x.NatGatewayId), x.CreateTime, document{"NatGateway": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func networkACLs(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeNetworkAclsPaginator(r.clients.ec2, &ec2.DescribeNetworkAclsInput{MaxResults: pageSize()}), func(page *ec2.DescribeNetworkAclsOutput) error {
		for _, x := range page.NetworkAcls {
			if err := r.keep("network-acl", aws.ToString(x.NetworkAclId), nil, document{"NetworkAcl": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func dhcpOptions(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeDhcpOptionsPaginator(r.clients.ec2, &ec2.DescribeDhcpOptionsInput{MaxResults: pageSize()}), func(page *ec2.DescribeDhcpOptionsOutput) error {
		for _, x := range page.DhcpOptions {
			if err := r.keep("dhcp-options", aws.ToString(x.DhcpOptionsId), nil, document{"DhcpOptions": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func interfaces(ctx context.Context, r *reading) error {
	return awsclient.Pages(ctx, ec2.NewDescribeNetworkInterfacesPaginator(r.clients.ec2, &ec2.DescribeNetworkInterfacesInput{MaxResults: pageSize()}), func(page *ec2.DescribeNetworkInterfacesOutput) error {
		for _, x := range page.NetworkInterfaces {
			if x.Attachment != nil {
				r.grouping(func(g *grouped) { g.attach("network-interface", x.NetworkInterfaceId, x.Attachment.InstanceId) })
			}
			if err := r.keep("network-interface", aws.ToString(x.NetworkInterfaceId), nil, document{"NetworkInterface": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func addresses(ctx context.Context, r *reading) error {
	out, err := r.clients.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
	if err != nil {
		return err
	}
	for _, x := range out.Addresses {
		id := aws.ToString(x.AllocationId)
		if id == "" {
			id = aws.ToString(x.PublicIp)
		}
		if err := r.keep("address", id, nil, document{"Address": fields(x)}); err != nil {
			return err
		}
	}
	return nil
}

func keyPairs(ctx context.Context, r *reading) error {
	out, err := r.clients.ec2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{IncludePublicKey: aws.Bool(true)})
	if err != nil {
		return err
	}
	for _, x := range out.KeyPairs {
		if err := r.keep("key-pair", aws.ToString(x.KeyPairId), x.CreateTime, document{"KeyPair": fields(x)}); err != nil {
			return err
		}
	}
	return nil
}

// securityGroups puts a group and its rules, which have IDs and descriptions of their own, into one document.
func securityGroups(ctx context.Context, r *reading) error {
	rules := map[string][]any{}
	err := r.attribute("security-group", "rules", "ec2:DescribeSecurityGroupRules", func() error {
		return awsclient.Pages(ctx, ec2.NewDescribeSecurityGroupRulesPaginator(r.clients.ec2, &ec2.DescribeSecurityGroupRulesInput{MaxResults: pageSize()}), func(page *ec2.DescribeSecurityGroupRulesOutput) error {
			for _, x := range page.SecurityGroupRules {
				rules[aws.ToString(x.GroupId)] = append(rules[aws.ToString(x.GroupId)], plain(x))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return awsclient.Pages(ctx, ec2.NewDescribeSecurityGroupsPaginator(r.clients.ec2, &ec2.DescribeSecurityGroupsInput{MaxResults: pageSize()}), func(page *ec2.DescribeSecurityGroupsOutput) error {
		for _, x := range page.SecurityGroups {
			id := aws.ToString(x.GroupId)
			d := document{"SecurityGroup": fields(x)}
			if list := rules[id]; len(list) > 0 {
				sortValues(list)
				d["SecurityGroupRules"] = list
			}
			if err := r.keep("security-group", id, nil, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func volumes(ctx context.Context, r *reading) error {
	in := &ec2.DescribeVolumesInput{MaxResults: pageSize(), Filters: r.tagged()}
	return awsclient.Pages(ctx, ec2.NewDescribeVolumesPaginator(r.clients.ec2, in), func(page *ec2.DescribeVolumesOutput) error {
		for _, x := range page.Volumes {
			for _, a := range x.Attachments {
				r.grouping(func(g *grouped) { g.attach("volume", x.VolumeId, a.InstanceId) })
			}
			if err := r.keep("volume", aws.ToString(x.VolumeId), x.CreateTime, document{"Volume": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// launchTemplates keeps a template with every version of it.
func launchTemplates(ctx context.Context, r *reading) error {
	in := &ec2.DescribeLaunchTemplatesInput{MaxResults: pageSize(), Filters: r.tagged()}
	return awsclient.Pages(ctx, ec2.NewDescribeLaunchTemplatesPaginator(r.clients.ec2, in), func(page *ec2.DescribeLaunchTemplatesOutput) error {
		for _, x := range page.LaunchTemplates {
			if err := r.launchTemplate(ctx, x); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *reading) launchTemplate(ctx context.Context, x types.LaunchTemplate) error {
	versions := map[int64]any{}
	in := &ec2.DescribeLaunchTemplateVersionsInput{MaxResults: pageSize(), LaunchTemplateId: x.LaunchTemplateId}
	err := r.attribute("launch-template", "versions", "ec2:DescribeLaunchTemplateVersions", func() error {
		return awsclient.Pages(ctx, ec2.NewDescribeLaunchTemplateVersionsPaginator(r.clients.ec2, in), func(page *ec2.DescribeLaunchTemplateVersionsOutput) error {
			for _, v := range page.LaunchTemplateVersions {
				if v.LaunchTemplateData != nil {
					r.grouping(func(g *grouped) { g.names(string(v.LaunchTemplateData.InstanceType)) })
				}
				versions[aws.ToInt64(v.VersionNumber)] = plain(v)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	d := document{"LaunchTemplate": fields(x)}
	if list := inOrder(versions); len(list) > 0 {
		d["LaunchTemplateVersions"] = list
	}
	return r.keep("launch-template", aws.ToString(x.LaunchTemplateId), x.CreateTime, d)
}

// parseTime reads the times that EC2 gives as text; nil if it gave none.
func parseTime(s *string) *time.Time {
	t, err := time.Parse(time.RFC3339, aws.ToString(s))
	if err != nil {
		return nil
	}
	return &t
}
