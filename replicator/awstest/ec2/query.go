package ec2

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Auto Scaling and Elastic Load Balancing speak the query protocol that others of AWS's services do:
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html. Their actions here only list what Put was given.

// otherService gives the service that a request is signed for, unless it is EC2.
func otherService(auth string) string {
	for _, s := range []string{"autoscaling", "elasticloadbalancing"} {
		if strings.Contains(auth, "/"+s+"/aws4_request") {
			return s
		}
	}
	return ""
}

// queried is one action of the two services.
type queried struct {
	service, kind, list string
	token, next         string // parameter and answer of paging; none if empty
	by                  string // lists only what belongs to this parameter's value
}

func queriedActions() map[string]queried {
	const scaling, elb = "autoscaling", "elasticloadbalancing"
	return map[string]queried{
		"DescribeAutoScalingGroups":      {scaling, "auto-scaling-group", "AutoScalingGroups", "NextToken", "NextToken", ""},
		"DescribePolicies":               {scaling, "scaling-policy", "ScalingPolicies", "NextToken", "NextToken", ""},
		"DescribeLaunchConfigurations":   {scaling, "launch-configuration", "LaunchConfigurations", "NextToken", "NextToken", ""},
		"DescribeLoadBalancers":          {elb, "load-balancer", "LoadBalancers", "Marker", "NextMarker", ""},
		"DescribeTargetGroups":           {elb, "target-group", "TargetGroups", "Marker", "NextMarker", ""},
		"DescribeListeners":              {elb, "listener", "Listeners", "Marker", "NextMarker", "LoadBalancerArn"},
		"DescribeRules":                  {elb, "listener-rule", "Rules", "Marker", "NextMarker", "ListenerArn"},
		"DescribeLoadBalancerAttributes": {elb, "load-balancer-attribute", "Attributes", "", "", "LoadBalancerArn"},
		"DescribeTargetGroupAttributes":  {elb, "target-group-attribute", "Attributes", "", "", "TargetGroupArn"},
	}
}

// versions of the two APIs.
func versionOf(service string) string {
	if service == "autoscaling" {
		return "2011-01-01"
	}
	return "2015-12-01"
}

func (s *Server) serveQuery(w http.ResponseWriter, form url.Values, service string, o Options, fault *Error) {
	name := form.Get("Action")
	q, known := queriedActions()[name]
	tags := name == "DescribeTags" && service == "elasticloadbalancing"
	switch {
	case o.Denied[service+":"+name]:
		failQuery(w, &Error{403, "AccessDenied", "User is not authorized to perform: " + service + ":" + name})
		return
	case fault != nil:
		failQuery(w, fault)
		return
	case form.Get("Version") != versionOf(service) || !tags && (!known || q.service != service):
		failQuery(w, Errorf("InvalidAction", "Could not find operation %s for version %s", name, form.Get("Version")))
		return
	}
	var body string
	var e *Error
	if tags {
		body = s.describeTags(form)
	} else {
		body, e = s.query(form, q, o)
	}
	if e != nil {
		failQuery(w, e)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>", name, body)
}

// query lists resources of a kind. What belongs to another has the ID "OWNER#ID".
func (s *Server) query(form url.Values, q queried, o Options) (string, *Error) {
	allowed := []string{"Action", "Version", q.token, q.by}
	for k := range form {
		if !slices.Contains(allowed, k) {
			return "", Errorf("ValidationError", "the parameter %s is not known", k)
		}
	}
	var found []resource
	for _, r := range s.of(q.kind) {
		if q.by == "" || strings.HasPrefix(r.id, form.Get(q.by)+"#") {
			found = append(found, r)
		}
	}
	from, to := 0, len(found)
	if t := form.Get(q.token); q.token != "" && t != "" {
		var err error
		if from, err = strconv.Atoi(t); err != nil || from < 0 || from > to {
			return "", Errorf("ValidationError", "the token %q is not valid", t)
		}
	}
	if o.PageSize > 0 && q.token != "" {
		to = min(to, from+o.PageSize)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%s>", q.list)
	for _, r := range found[from:to] {
		fmt.Fprintf(&b, "<member>%s</member>", r.inner)
	}
	fmt.Fprintf(&b, "</%s>", q.list)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[q.kind] = to < len(found)
	if to < len(found) {
		fmt.Fprintf(&b, "<%[1]s>%[2]d</%[1]s>", q.next, to)
	}
	return b.String(), nil
}

// describeTags gives the tags of up to 20 ARNs, which stand as resources of kind "tags".
func (s *Server) describeTags(form url.Values) string {
	var b strings.Builder
	b.WriteString("<TagDescriptions>")
	for i := 1; form.Has(fmt.Sprintf("ResourceArns.member.%d", i)); i++ {
		arn := form.Get(fmt.Sprintf("ResourceArns.member.%d", i))
		for _, r := range s.of("tags") {
			if r.id == arn {
				fmt.Fprintf(&b, "<member><ResourceArn>%s</ResourceArn><Tags>%s</Tags></member>", arn, r.inner)
			}
		}
	}
	b.WriteString("</TagDescriptions>")
	return b.String()
}

func failQuery(w http.ResponseWriter, e *Error) {
	if e.Status == 0 {
		e.Status = 400
	}
	v := struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
	}{Type: "Sender", Code: e.Code, Message: e.Message}
	b, _ := xml.Marshal(v)
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(e.Status)
	_, _ = w.Write(b)
}
