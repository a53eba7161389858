package ec2

import "strings"

// signedFor gives the region in the scope of a signature: Credential=KEY/DATE/REGION/ec2/aws4_request.
func signedFor(auth string) string {
	_, scope, _ := strings.Cut(auth, "Credential=")
	if parts := strings.Split(scope, "/"); len(parts) > 2 {
		return parts[2]
	}
	return ""
}

// describeRegions lists those that are open to the account [API: DescribeRegions; it is not paged, and without AllRegions it leaves out
// what is not enabled].
func describeRegions(c *Call) (any, *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.o.Regions
	if len(names) == 0 {
		names = []string{c.Region}
	}
	l := listed{set: "regionInfo"}
	for i := range names { // in no order
		n := names[len(names)-1-i]
		l.items = append(l.items, item{"<regionName>" + n + "</regionName><regionEndpoint>ec2." + n + ".amazonaws.com</regionEndpoint><optInStatus>opt-in-not-required</optInStatus>"})
	}
	return l, nil
}

// here reports whether what lies in a region, the first one where it names none, is in the call's.
func (c *Call) here(region string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.o.Regions) == 0 || region == c.Region || region == "" && c.Region == c.o.Regions[0]
}

// of is what the region of the call has.
func (c *Call) of(kind string) []resource {
	all := c.Server.of(kind)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.o.Regions) == 0 {
		return all
	}
	var out []resource
	for _, r := range all {
		if r.region == c.Region || r.region == "" && c.Region == c.o.Regions[0] {
			out = append(out, r)
		}
	}
	return out
}

// PutIn is Put in a region that is not the first.
func (s *Server) PutIn(region, kind, id, inner string) {
	s.Put(kind, id, inner)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.resources {
		if s.resources[i].kind == kind && s.resources[i].id == id {
			s.resources[i].region = region
		}
	}
}
