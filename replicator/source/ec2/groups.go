package ec2source

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
)

func scalingGroups(ctx context.Context, r *reading) error {
	policies := map[string][]any{}
	err := r.attribute("auto-scaling-group", "policies", "autoscaling:DescribePolicies", func() error {
		return awsclient.Pages(ctx, autoscaling.NewDescribePoliciesPaginator(r.clients.scaling, &autoscaling.DescribePoliciesInput{}), func(page *autoscaling.DescribePoliciesOutput) error {
			for _, x := range page.ScalingPolicies {
				policies[aws.ToString(x.AutoScalingGroupName)] = append(policies[aws.ToString(x.AutoScalingGroupName)], plain(x))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	in := &autoscaling.DescribeAutoScalingGroupsInput{}
	return awsclient.Pages(ctx, autoscaling.NewDescribeAutoScalingGroupsPaginator(r.clients.scaling, in), func(page *autoscaling.DescribeAutoScalingGroupsOutput) error {
		for _, x := range page.AutoScalingGroups {
			name := aws.ToString(x.AutoScalingGroupName)
			r.grouping(func(g *grouped) { g.group(&x) })
			d := document{"AutoScalingGroup": fields(x)}
			if list := policies[name]; len(list) > 0 {
				sortValues(list)
				d["ScalingPolicies"] = list
			}
			if err := r.keep("auto-scaling-group", name, x.CreatedTime, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func launchConfigurations(ctx context.Context, r *reading) error {
	in := &autoscaling.DescribeLaunchConfigurationsInput{}
	return awsclient.Pages(ctx, autoscaling.NewDescribeLaunchConfigurationsPaginator(r.clients.scaling, in), func(page *autoscaling.DescribeLaunchConfigurationsOutput) error {
		for _, x := range page.LaunchConfigurations {
			r.grouping(func(g *grouped) { g.names(aws.ToString(x.InstanceType)) })
			if err := r.keep("launch-configuration", aws.ToString(x.LaunchConfigurationName), x.CreatedTime, document{"LaunchConfiguration": fields(x)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// loadBalancers keeps a load balancer with its attributes, listeners and their rules.
func loadBalancers(ctx context.Context, r *reading) error {
	in := &elasticloadbalancingv2.DescribeLoadBalancersInput{}
	return awsclient.Pages(ctx, elasticloadbalancingv2.NewDescribeLoadBalancersPaginator(r.clients.elb, in), func(page *elasticloadbalancingv2.DescribeLoadBalancersOutput) error {
		tags, err := r.tagsOf(ctx, "load-balancer", arns(page.LoadBalancers, func(x types.LoadBalancer) *string { return x.LoadBalancerArn }))
		if err != nil {
			return err
		}
		for _, x := range page.LoadBalancers {
			if err := r.loadBalancer(ctx, x, tags); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *reading) loadBalancer(ctx context.Context, x types.LoadBalancer, tags map[string]any) error {
	d := document{"LoadBalancer": fields(x)}
	d.tag(tags, x.LoadBalancerArn)
	err := r.attribute("load-balancer", "attributes", "elasticloadbalancing:DescribeLoadBalancerAttributes", func() error {
		out, err := r.clients.elb.DescribeLoadBalancerAttributes(ctx, &elasticloadbalancingv2.DescribeLoadBalancerAttributesInput{LoadBalancerArn: x.LoadBalancerArn})
		if err == nil {
			d.merge(fields(*out))
		}
		return err
	})
	if err != nil {
		return err
	}
	var listeners []any
	err = r.attribute("load-balancer", "listeners", "elasticloadbalancing:DescribeListeners", func() error {
		in := &elasticloadbalancingv2.DescribeListenersInput{LoadBalancerArn: x.LoadBalancerArn}
		return awsclient.Pages(ctx, elasticloadbalancingv2.NewDescribeListenersPaginator(r.clients.elb, in), func(page *elasticloadbalancingv2.DescribeListenersOutput) error {
			for _, l := range page.Listeners {
				one, err := r.listener(ctx, l)
				if err != nil {
					return err
				}
				listeners = append(listeners, map[string]any(one))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if len(listeners) > 0 {
		sortValues(listeners)
		d["Listeners"] = listeners
	}
	return r.keep("load-balancer", lastOf(x.LoadBalancerArn, "loadbalancer/"), x.CreatedTime, d)
}

func (r *reading) listener(ctx context.Context, l types.Listener) (document, error) {
	d := document{"Listener": fields(l)}
	var rules []any
	err := r.attribute("load-balancer", "rules", "elasticloadbalancing:DescribeRules", func() error {
		in := &elasticloadbalancingv2.DescribeRulesInput{ListenerArn: l.ListenerArn}
		return awsclient.Pages(ctx, elasticloadbalancingv2.NewDescribeRulesPaginator(r.clients.elb, in), func(page *elasticloadbalancingv2.DescribeRulesOutput) error {
			for _, x := range page.Rules {
				rules = append(rules, plain(x))
			}
			return nil
		})
	})
	if len(rules) > 0 {
		sortValues(rules)
		d["Rules"] = rules
	}
	return d, err
}

// targetGroups keeps a target group with its attributes. What is registered in it comes and goes, and is not its definition.
func targetGroups(ctx context.Context, r *reading) error {
	in := &elasticloadbalancingv2.DescribeTargetGroupsInput{}
	return awsclient.Pages(ctx, elasticloadbalancingv2.NewDescribeTargetGroupsPaginator(r.clients.elb, in), func(page *elasticloadbalancingv2.DescribeTargetGroupsOutput) error {
		tags, err := r.tagsOf(ctx, "target-group", arns(page.TargetGroups, func(x types.TargetGroup) *string { return x.TargetGroupArn }))
		if err != nil {
			return err
		}
		for _, x := range page.TargetGroups {
			d := document{"TargetGroup": fields(x)}
			d.tag(tags, x.TargetGroupArn)
			err := r.attribute("target-group", "attributes", "elasticloadbalancing:DescribeTargetGroupAttributes", func() error {
				out, err := r.clients.elb.DescribeTargetGroupAttributes(ctx, &elasticloadbalancingv2.DescribeTargetGroupAttributesInput{TargetGroupArn: x.TargetGroupArn})
				if err == nil {
					d.merge(fields(*out))
				}
				return err
			})
			if err != nil {
				return err
			}
			if err := r.keep("target-group", lastOf(x.TargetGroupArn, "targetgroup/"), nil, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// tagsAtOnce is how many ARNs DescribeTags takes.
const tagsAtOnce = 20

// tagsOf gives the tags of load balancers or target groups by ARN.
func (r *reading) tagsOf(ctx context.Context, kind string, all []string) (map[string]any, error) {
	out := map[string]any{}
	for some := range slices.Chunk(all, tagsAtOnce) {
		err := r.attribute(kind, "tags", "elasticloadbalancing:DescribeTags", func() error {
			got, err := r.clients.elb.DescribeTags(ctx, &elasticloadbalancingv2.DescribeTagsInput{ResourceArns: some})
			if err != nil {
				return err
			}
			for _, x := range got.TagDescriptions {
				if tags, ok := fields(x)["Tags"]; ok {
					out[aws.ToString(x.ResourceArn)] = tags
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (d document) tag(tags map[string]any, arn *string) {
	if t, ok := tags[aws.ToString(arn)]; ok {
		d["Tags"] = t
	}
}

func arns[T any](list []T, arn func(T) *string) []string {
	var out []string
	for _, x := range list {
		out = append(out, aws.ToString(arn(x)))
	}
	return out
}

// lastOf gives what follows a mark in an ARN; all of it where there is none.
func lastOf(arn *string, mark string) string {
	if _, rest, ok := strings.Cut(aws.ToString(arn), mark); ok {
		return rest
	}
	return aws.ToString(arn)
}
