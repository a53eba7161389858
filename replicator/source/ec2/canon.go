package ec2source

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// document is one resource as it is stored: AWS's own field names, sorted, nothing that is not set.
type document map[string]any

// encode gives the stored form: indented, so that a diff of two goes line by line, and ending in a newline.
func (d document) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any(d)); err != nil {
		return nil, fmt.Errorf("encode a resource: %w", err)
	}
	return b.Bytes(), nil
}

// plain turns what the SDK gave into maps, lists and values, under the names that the SDK's fields have, which are those of
// AWS's API. What is not set is left out. It gives nil for what holds nothing.
func plain(v any) any { return plainValue(reflect.ValueOf(v), "") }

// fields is plain of a structure, without the named fields.
func fields(v any, without ...string) document {
	m, _ := plain(v).(map[string]any)
	for _, w := range without {
		delete(m, w)
	}
	return m
}

func plainValue(v reflect.Value, field string) any {
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		inner := v.Elem()
		if inner.Kind() == reflect.String || inner.Kind() == reflect.Bool || inner.CanInt() {
			return inner.Interface() // set, though it may be zero
		}
		return plainValue(inner, field)
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t.UTC().Format(time.RFC3339Nano)
		}
		return plainStruct(v)
	case reflect.Map:
		return plainMap(v)
	case reflect.Slice:
		return plainSlice(v, field)
	case reflect.String:
		if v.Len() == 0 {
			return nil
		}
		return v.String()
	}
	return v.Interface()
}

func plainStruct(v reflect.Value) any {
	m := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" || volatile(v.Type().Name(), f.Name) {
			continue
		}
		if x := plainValue(v.Field(i), f.Name); x != nil {
			m[f.Name] = x
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func plainMap(v reflect.Value) any {
	if v.Len() == 0 {
		return nil
	}
	m := map[string]any{}
	for it := v.MapRange(); it.Next(); {
		m[it.Key().String()] = plainValue(it.Value(), "")
	}
	return m
}

func plainSlice(v reflect.Value, field string) any {
	if v.Len() == 0 {
		return nil
	}
	if b, ok := v.Interface().([]byte); ok {
		return base64.StdEncoding.EncodeToString(b)
	}
	out := make([]any, 0, v.Len())
	for i := range v.Len() {
		out = append(out, plainValue(v.Index(i), ""))
	}
	if unordered(field) {
		sortValues(out)
	}
	return out
}

// sortValues brings a list into the order of its members' JSON, so that an answer in another order is the same document.
func sortValues(list []any) {
	type member struct {
		text string
		val  any
	}
	all := make([]member, len(list))
	for i, v := range list {
		b, err := json.Marshal(v)
		if err != nil {
			return // encode will say so
		}
		all[i] = member{string(b), v}
	}
	slices.SortFunc(all, func(a, b member) int { return strings.Compare(a.text, b.text) })
	for i, m := range all {
		list[i] = m.val
	}
}

// unordered reports whether a list's order means nothing to AWS. It comes back in any. Others (the servers of a set of DHCP
// options, the termination policies of a group) keep theirs.
func unordered(field string) bool {
	switch field {
	case "Tags", "TagSet", "IpPermissions", "IpPermissionsEgress", "UserIdGroupPairs", "IpRanges", "Ipv6Ranges", "PrefixListIds",
		"SecurityGroups", "SecurityGroupIds", "Groups", "GroupSet", "Routes", "Associations", "PropagatingVgws", "BlockDeviceMappings",
		"NetworkInterfaces", "Attachments", "PrivateIpAddresses", "Ipv6Addresses", "LaunchPermissions", "Entries", "ProductCodes",
		"CidrBlockAssociationSet", "Ipv6CidrBlockAssociationSet", "DhcpConfigurations", "NatGatewayAddresses", "Licenses",
		"AvailabilityZones", "Instances", "TargetGroupARNs", "LoadBalancerNames", "LoadBalancerArns", "SuspendedProcesses", "EnabledMetrics",
		"Attributes", "TagSpecifications", "ElasticGpuAssociations", "ElasticInferenceAcceleratorAssociations":
		return true
	}
	return false
}

// volatile reports whether a field changes by itself, while nobody changes the resource: it would be a change in every
// point, and it says nothing of how the resource was made.
func volatile(structure, field string) bool {
	switch structure + "." + field {
	case "Subnet.AvailableIpAddressCount", "Image.LastLaunchedTime", "AutoScalingGroup.PredictedCapacity",
		"AutoScalingGroup.WarmPoolSize":
		return true
	}
	return false
}
