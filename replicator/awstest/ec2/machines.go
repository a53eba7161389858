package ec2

import (
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
)

// described is what the API says of one Describe action of machines and networks [API: the action's page].
type described struct {
	kind        string
	set         string   // the element that its items stand in
	id          string   // the parameter that takes IDs
	notFound    string   // the code for an ID that is not there [ERR]
	least, most int      // MaxResults; most 0: it is not paged
	also        []string // further parameters, which change nothing here
	filters     []string // beside tag:KEY and tag-key
}

func describedActions() map[string]described {
	return map[string]described{
		"DescribeVpcs":               {kind: "vpc", set: "vpcSet", id: "VpcId", notFound: "InvalidVpcID.NotFound", least: 5, most: 1000},
		"DescribeSubnets":            {kind: "subnet", set: "subnetSet", id: "SubnetId", notFound: "InvalidSubnetID.NotFound", least: 5, most: 1000},
		"DescribeRouteTables":        {kind: "route-table", set: "routeTableSet", id: "RouteTableId", notFound: "InvalidRouteTableID.NotFound", least: 5, most: 100},
		"DescribeInternetGateways":   {kind: "internet-gateway", set: "internetGatewaySet", id: "InternetGatewayId", notFound: "InvalidInternetGatewayID.NotFound", least: 5, most: 1000},
		"DescribeNatGateways":        {kind: "nat-gateway", set: "natGatewaySet", id: "NatGatewayId", notFound: "NatGatewayNotFound", least: 5, most: 1000},
		"DescribeNetworkAcls":        {kind: "network-acl", set: "networkAclSet", id: "NetworkAclId", notFound: "InvalidNetworkAclID.NotFound", least: 5, most: 1000},
		"DescribeDhcpOptions":        {kind: "dhcp-options", set: "dhcpOptionsSet", id: "DhcpOptionsId", notFound: "InvalidDhcpOptionID.NotFound", least: 5, most: 1000},
		"DescribeNetworkInterfaces":  {kind: "network-interface", set: "networkInterfaceSet", id: "NetworkInterfaceId", notFound: "InvalidNetworkInterfaceID.NotFound", least: 5, most: 1000},
		"DescribeAddresses":          {kind: "address", set: "addressesSet", id: "AllocationId", notFound: "InvalidAllocationID.NotFound"},
		"DescribeKeyPairs":           {kind: "key-pair", set: "keySet", id: "KeyPairId", notFound: "InvalidKeyPair.NotFound", also: []string{"IncludePublicKey"}},
		"DescribeSecurityGroups":     {kind: "security-group", set: "securityGroupInfo", id: "GroupId", notFound: "InvalidGroup.NotFound", least: 5, most: 1000},
		"DescribeSecurityGroupRules": {kind: "security-group-rule", set: "securityGroupRuleSet", id: "SecurityGroupRuleId", notFound: "InvalidSecurityGroupRuleId.NotFound", least: 5, most: 1000},
		"DescribeLaunchTemplates":    {kind: "launch-template", set: "launchTemplates", id: "LaunchTemplateId", notFound: "InvalidLaunchTemplateId.NotFound", least: 1, most: 200},
		"DescribeInstances":          {kind: "instance", set: "reservationSet", id: "InstanceId", notFound: "InvalidInstanceID.NotFound", least: 5, most: 1000, filters: []string{stateFilter}},
		"DescribeImages":             {kind: "image", set: "imagesSet", id: "ImageId", notFound: "InvalidAMIID.NotFound", least: 1, most: 1000, also: []string{"IncludeDeprecated", "IncludeDisabled"}, filters: []string{"name"}},
	}
}

// resource is one thing that is described: the XML of its item, as the samples of [API] give it.
type resource struct {
	kind, id, inner string
	region          string // empty: the first
}

// tagsOf reads the tags of an item. Those of instances are deeper, in the one instance that a reservation has here.
func (r *resource) tags() map[string]string {
	var v struct {
		Tags []Tag `xml:"tagSet>item"`
		Deep []Tag `xml:"instancesSet>item>tagSet>item"`
	}
	_ = xml.Unmarshal([]byte("<item>"+r.inner+"</item>"), &v) // what is malformed the SDK will say
	out := map[string]string{}
	for _, t := range append(v.Tags, v.Deep...) {
		out[t.Key] = t.Value
	}
	return out
}

// field gives the text of a direct child.
func (r *resource) field(name string) string {
	d := xml.NewDecoder(strings.NewReader("<item>" + r.inner + "</item>"))
	for depth, in := 0, false; ; {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			in = depth == 2 && t.Name.Local == name
		case xml.EndElement:
			depth--
			in = false
		case xml.CharData:
			if in {
				return string(t)
			}
		}
	}
}

// item is a resource in an answer.
type item struct {
	Inner string `xml:",innerxml"`
}

// Put adds or replaces a resource. kind is as in the keys of an ec2:// source; inner is the XML of its item, without the
// element <item> itself.
func (s *Server) Put(kind, id, inner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.spoilt[kind]; ok {
		inner = strings.ReplaceAll(inner, x[0], x[1])
	}
	r := resource{kind: kind, id: id, inner: inner}
	for i := range s.resources {
		if s.resources[i].kind == kind && s.resources[i].id == id {
			s.resources[i] = r
			return
		}
	}
	s.resources = append(s.resources, r)
}

// Drop deletes a resource, as an attacker would.
func (s *Server) Drop(kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources = slices.DeleteFunc(s.resources, func(r resource) bool { return r.kind == kind && r.id == id })
}

// SetAttribute sets what Describe*Attribute gives for one attribute of a resource: the XML of its element, with the element.
func (s *Server) SetAttribute(id, attribute, element string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attributes[id+" "+attribute] = element
}

// of gives the resources of a kind; every second time in the other order, since AWS promises none.
func (s *Server) of(kind string) []resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []resource
	for _, r := range s.resources {
		if r.kind == kind {
			out = append(out, r)
		}
	}
	s.asked[kind]++
	if s.asked[kind]%2 == 0 && !s.paging(kind) {
		slices.Reverse(out)
	}
	return out
}

// paging reports whether a listing of the kind is under way: its order must not change between pages.
func (s *Server) paging(kind string) bool { return s.pages[kind] }

// describe serves one of the table's actions.
func describe(d described) Action {
	return func(c *Call) (any, *Error) {
		for _, name := range d.also {
			c.Get(name)
		}
		ids, filters := c.List(d.id), c.Filters()
		for name := range filters {
			if !strings.HasPrefix(name, "tag:") && name != "tag-key" && !slices.Contains(d.filters, name) {
				return nil, Errorf("InvalidParameterValue", "The filter '%s' is invalid", name)
			}
		}
		owners := c.List("Owner")
		all := c.of(d.kind)
		for _, id := range ids {
			if !slices.ContainsFunc(all, func(r resource) bool { return r.id == id }) {
				return nil, Errorf(d.notFound, "The ID '%s' does not exist", id)
			}
		}
		var found []item
		for _, r := range all {
			if (len(ids) == 0 || slices.Contains(ids, r.id)) && MatchTags(filters, r.tags()) && matchFields(filters, d.filters, r) && r.ownedBy(owners) {
				found = append(found, item{r.inner})
			}
		}
		from, to, next, e := c.pageOf(d, len(found), len(ids) > 0)
		if e != nil {
			return nil, e
		}
		return listed{d.set, found[from:to], next}, nil
	}
}

const stateFilter = "instance-state-name"

// state is that of the one instance which a reservation has here.
func (r *resource) state() string {
	var v struct {
		State string `xml:"instancesSet>item>instanceState>name"`
	}
	_ = xml.Unmarshal([]byte("<item>"+r.inner+"</item>"), &v)
	return v.State
}

func matchFields(filters map[string][]string, names []string, r resource) bool {
	for _, n := range names {
		is := r.field(n)
		if n == stateFilter {
			is = r.state()
		}
		if values, ok := filters[n]; ok && !Any(values, is) {
			return false
		}
	}
	return true
}

// ownedBy: of the owners, "self" is known, and account IDs [API: DescribeImages].
func (r *resource) ownedBy(owners []string) bool {
	if len(owners) == 0 {
		return true
	}
	owner := r.field("imageOwnerId")
	return slices.Contains(owners, owner) || slices.Contains(owners, "self") && (owner == "" || owner == "123456789012")
}

// pageOf is Page within what the action allows. Small pages are given whatever was asked for, which AWS may do.
func (c *Call) pageOf(d described, n int, ids bool) (from, to int, next string, e *Error) {
	m, t := c.Get("MaxResults"), c.Get("NextToken")
	if d.most == 0 {
		if m != "" || t != "" {
			return 0, 0, "", Errorf("UnknownParameter", "this action is not paged")
		}
		return 0, n, "", nil
	}
	if m != "" {
		i, err := strconv.Atoi(m)
		if err != nil || i < d.least || i > d.most {
			return 0, 0, "", Errorf("InvalidParameterValue", "Value (%s) for parameter maxResults is invalid: from %d to %d", m, d.least, d.most)
		}
		if ids {
			return 0, 0, "", Errorf("InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", d.id)
		}
	}
	if t != "" {
		i, err := strconv.Atoi(strings.TrimPrefix(t, "page-"+d.kind+"-"))
		if err != nil || i < 0 || i > n {
			return 0, 0, "", Errorf("InvalidNextToken", "the token %q is not valid", t)
		}
		from = i
	}
	to = n
	if m != "" {
		i, _ := strconv.Atoi(m)
		to = min(n, from+i)
		c.mu.Lock()
		if c.o.PageSize > 0 {
			to = min(to, from+c.o.PageSize)
		}
		c.mu.Unlock()
	}
	if to < n {
		next = "page-" + d.kind + "-" + strconv.Itoa(to)
	}
	c.mu.Lock()
	c.pages[d.kind] = next != ""
	c.mu.Unlock()
	return from, to, next, nil
}

// listed is the answer of a Describe action.
type listed struct {
	set   string
	items []item
	next  string
}

// MarshalXML implements xml.Marshaler.
func (l listed) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	named := func(name string) xml.StartElement { return xml.StartElement{Name: xml.Name{Local: name}} }
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	if err := e.EncodeElement("r", named("requestId")); err != nil {
		return err
	}
	if err := e.EncodeElement(struct {
		Items []item `xml:"item"`
	}{l.items}, named(l.set)); err != nil {
		return err
	}
	if l.next != "" {
		if err := e.EncodeElement(l.next, named("nextToken")); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// describeLaunchTemplateVersions: one template's, by its ID [API: from 1 to 200 a page].
func describeLaunchTemplateVersions(c *Call) (any, *Error) {
	id := c.Get("LaunchTemplateId")
	if !slices.ContainsFunc(c.of("launch-template"), func(r resource) bool { return r.id == id }) {
		return nil, Errorf("InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", id)
	}
	var found []item
	for _, r := range c.of("launch-template-version") {
		if r.field("launchTemplateId") == id {
			found = append(found, item{r.inner})
		}
	}
	d := described{kind: "launch-template-version", set: "launchTemplateVersionSet", least: 1, most: 200}
	from, to, next, e := c.pageOf(d, len(found), false)
	if e != nil {
		return nil, e
	}
	return listed{d.set, found[from:to], next}, nil
}

// describeAttribute gives one attribute of a resource.
func describeAttribute(kind, param, notFound string, allowed ...string) Action {
	return func(c *Call) (any, *Error) {
		id, attribute := c.Get(param), c.Get("Attribute")
		if !slices.Contains(allowed, attribute) {
			return nil, Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid", attribute)
		}
		if !slices.ContainsFunc(c.of(kind), func(r resource) bool { return r.id == id || strings.Contains(r.inner, "<"+lower(param)+">"+id+"<") }) {
			return nil, Errorf(notFound, "The ID '%s' does not exist", id)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return item{"<requestId>r</requestId><" + lower(param) + ">" + id + "</" + lower(param) + ">" + c.attributes[id+" "+attribute]}, nil
	}
}

// lower gives the name that a parameter has in answers.
func lower(param string) string { return strings.ToLower(param[:1]) + param[1:] }

// Inner gives the XML of a resource's item; "" if there is none.
func (s *Server) Inner(kind, id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.resources {
		if r.kind == kind && r.id == id {
			return r.inner
		}
	}
	return ""
}

// Spoil makes the resources of a kind that are added from now on others than they should be.
func (s *Server) Spoil(kind, from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoilt[kind] = [2]string{from, to}
}

// Named gives the XML of the resource of a kind whose element <name> says so; "" if there is none.
func (s *Server) Named(kind, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.resources {
		if r.kind == kind && r.field("name") == name {
			return r.inner
		}
	}
	return ""
}

// Items gives the XML of all resources of a kind.
func (s *Server) Items(kind string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.resources {
		if r.kind == kind {
			out = append(out, r.inner)
		}
	}
	return out
}
