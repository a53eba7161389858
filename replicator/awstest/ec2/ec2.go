// Package ec2 is a server of the EC2 query API for tests. It knows what the sources and restores ask for, enforces what
// AWS documents of that, and refuses everything else. Sources of the rules:
//
//	[API]  https://docs.aws.amazon.com/AWSEC2/latest/APIReference/ (actions, parameters, filters, paging, error codes), and
//	       the service model 2016-11-15 in botocore and aws-sdk-go-v2
//	[ERR]  https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
package ec2

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// Options of a server.
type Options struct {
	AccessKey string          // the one that is let in; "": any
	Denied    map[string]bool // actions that are refused with UnauthorizedOperation
	PageSize  int             // pages of machines have at most so many, whatever is asked for; 0: as asked for

	// Regions are those that are open to the account; in the first is what Put was given. Empty: there is one, by whatever name it is asked.
	Regions []string
	Closed  map[string]bool // regions in which everything is refused with UnauthorizedOperation, as a policy of an organisation does
	Hangs   map[string]bool // regions that answer nothing
}

// Action serves one action: it gives the members of the response element.
type Action func(c *Call) (any, *Error)

// Server is an http.Handler.
type Server struct {
	World   *world.World
	actions map[string]Action

	mu     sync.Mutex
	o      Options
	log    []string
	faults map[string][]Error

	resources  []resource        // see machines.go
	attributes map[string]string // by ID and attribute
	asked      map[string]int    // listings of a kind so far
	pages      map[string]bool   // kinds of which a listing is under way
	spoilt     map[string][2]string
}

// New makes a server of a world.
func New(w *world.World, o Options) *Server {
	s := &Server{
		World: w, o: o, faults: map[string][]Error{}, attributes: map[string]string{}, asked: map[string]int{}, pages: map[string]bool{}, spoilt: map[string][2]string{},
	}
	s.actions = map[string]Action{
		"DescribeSnapshots": describeSnapshots, "DescribeVolumes": describeVolumes,
		"CreateSnapshots": createSnapshots, "CreateTags": createTags,

		"DescribeLaunchTemplateVersions": describeLaunchTemplateVersions,
		"DescribeVpcAttribute":           describeAttribute("vpc", "VpcId", "InvalidVpcID.NotFound", "enableDnsSupport", "enableDnsHostnames"),
		"DescribeInstanceAttribute": describeAttribute("instance", "InstanceId", "InvalidInstanceID.NotFound",
			"userData", "disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior"),
		"DescribeImageAttribute": describeAttribute("image", "ImageId", "InvalidAMIID.NotFound", "launchPermission", "uefiData"),
		"RegisterImage":          registerImage, "DeregisterImage": deregisterImage, "ModifyImageAttribute": modifyImageAttribute,
		"DeleteSnapshot": deleteSnapshot, "DescribeRegions": describeRegions,
	}
	for name, d := range describedActions() {
		s.actions[name] = describe(d)
	}
	return s
}

// Handle adds an action.
func (s *Server) Handle(name string, a Action) { s.actions[name] = a }

// Set changes the options of a running server.
func (s *Server) Set(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.o)
}

// Inject lets the next n calls of an action fail.
func (s *Server) Inject(action string, e Error, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.faults[action] = append(s.faults[action], e)
	}
}

// Log gives the actions asked for so far and forgets them.
func (s *Server) Log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// Error is how the query API says that something is wrong [ERR].
type Error struct {
	Status  int // 0: 400
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an error of status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{400, code, fmt.Sprintf(format, args...)}
}

// Call is one request.
type Call struct {
	*Server
	Form   url.Values
	Region string // that the request is signed for
	used   map[string]bool
}

// Get gives a parameter.
func (c *Call) Get(name string) string {
	c.used[name] = true
	return c.Form.Get(name)
}

// List gives NAME.1, NAME.2 and so on.
func (c *Call) List(name string) (out []string) {
	for i := 1; ; i++ {
		key := name + "." + strconv.Itoa(i)
		if !c.Form.Has(key) {
			return out
		}
		out = append(out, c.Get(key))
	}
}

// Filters gives Filter.N.Name with its values.
func (c *Call) Filters() map[string][]string {
	out := map[string][]string{}
	for i := 1; c.Form.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		out[c.Get(fmt.Sprintf("Filter.%d.Name", i))] = c.List(fmt.Sprintf("Filter.%d.Value", i))
	}
	return out
}

// Page gives the part of n items that was asked for and the token of the next [API: MaxResults from 5 to 1,000].
func (c *Call) Page(n int) (from, to int, next string, e *Error) {
	to = n
	if t := c.Get("NextToken"); t != "" {
		i, err := strconv.Atoi(strings.TrimPrefix(t, "page-"))
		if err != nil || i < 0 || i > n {
			return 0, 0, "", Errorf("InvalidNextToken", "the token %q is not valid", t)
		}
		from = i
	}
	if m := c.Get("MaxResults"); m != "" {
		i, err := strconv.Atoi(m)
		if err != nil || i < 5 || i > 1000 {
			return 0, 0, "", Errorf("InvalidParameterValue", "MaxResults %q is not from 5 to 1000", m)
		}
		to = min(n, from+i)
	}
	if to < n {
		next = "page-" + strconv.Itoa(to)
	}
	return from, to, next, nil
}

// Tag is one in a tagSet.
type Tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// Tags makes a tagSet.
func Tags(m map[string]string) (out []Tag) {
	for k, v := range m {
		out = append(out, Tag{k, v})
	}
	return out
}

// MatchTags reports whether tags are what filters of the form tag:KEY and tag-key ask for; it leaves the others alone.
func MatchTags(filters map[string][]string, tags map[string]string) bool {
	for name, values := range filters {
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			v, has := tags[key]
			if !has || !Any(values, v) {
				return false
			}
		}
		if name == "tag-key" {
			found := false
			for k := range tags {
				found = found || Any(values, k)
			}
			if !found {
				return false
			}
		}
	}
	return true
}

// Any reports whether a filter's values match v: * and ? are wildcards [API: Filter].
func Any(values []string, v string) bool {
	for _, p := range values {
		if wild(p, v) {
			return true
		}
	}
	return false
}

func wild(p, v string) bool {
	for len(p) > 0 {
		switch {
		case p[0] == '*':
			for i := 0; i <= len(v); i++ {
				if wild(p[1:], v[i:]) {
					return true
				}
			}
			return false
		case v == "" || p[0] != '?' && p[0] != v[0]:
			return false
		}
		p, v = p[1:], v[1:]
	}
	return v == ""
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
		fail(w, Errorf("MalformedQueryString", "not a query: %v", err))
		return
	}
	name := r.PostForm.Get("Action")
	s.mu.Lock()
	o := s.o
	s.log = append(s.log, name)
	var fault *Error
	if f := s.faults[name]; len(f) > 0 {
		fault, s.faults[name] = &f[0], f[1:]
	}
	s.mu.Unlock()
	auth := r.Header.Get("Authorization")
	if service := otherService(auth); service != "" {
		s.serveQuery(w, r.PostForm, service, o, fault)
		return
	}
	action := s.actions[name]
	region := signedFor(auth)
	if o.Hangs[region] {
		<-r.Context().Done()
		return
	}
	switch {
	case !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=") || !strings.Contains(auth, "/ec2/aws4_request") || !strings.Contains(auth, "Signature="):
		fail(w, &Error{401, "AuthFailure", "AWS was not able to validate the provided access credentials"})
	case o.AccessKey != "" && !strings.Contains(auth, "Credential="+o.AccessKey+"/"):
		fail(w, &Error{401, "AuthFailure", "AWS was not able to validate the provided access credentials"})
	case len(o.Regions) > 0 && !slices.Contains(o.Regions, region): // [ERR: AuthFailure, for a region that is not enabled]
		fail(w, &Error{401, "AuthFailure", "AWS was not able to validate the provided access credentials"})
	case o.Closed[region]:
		fail(w, &Error{403, "UnauthorizedOperation", "You are not authorized to perform this operation with an explicit deny in a service control policy."})
	case r.PostForm.Get("Version") != "2016-11-15":
		fail(w, Errorf("InvalidParameterValue", "Version %q", r.PostForm.Get("Version")))
	case o.Denied[name]:
		fail(w, &Error{403, "UnauthorizedOperation", "You are not authorized to perform this operation."})
	case fault != nil:
		fail(w, fault)
	case action == nil:
		fail(w, Errorf("InvalidAction", "The action %s is not valid for this endpoint.", name))
	default:
		c := &Call{Server: s, Form: r.PostForm, Region: region, used: map[string]bool{"Action": true, "Version": true}}
		v, e := action(c)
		if e == nil {
			e = c.unknown()
		}
		if e != nil {
			fail(w, e)
			return
		}
		answer(w, name, v)
	}
}

// unknown refuses parameters that nobody looked at: a misspelt one must not pass as understood.
func (c *Call) unknown() *Error {
	for k := range c.Form {
		if !c.used[k] {
			return Errorf("UnknownParameter", "The parameter %s is not recognized", k)
		}
	}
	return nil
}

func answer(w http.ResponseWriter, name string, v any) {
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	enc := xml.NewEncoder(w)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n")
	_ = enc.EncodeElement(v, xml.StartElement{
		Name: xml.Name{Local: name + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: "http://ec2.amazonaws.com/doc/2016-11-15/"}},
	})
}

func fail(w http.ResponseWriter, e *Error) {
	if e.Status == 0 {
		e.Status = 400
	}
	type problem struct {
		Code    string
		Message string
	}
	var v struct {
		XMLName   xml.Name  `xml:"Response"`
		Errors    []problem `xml:"Errors>Error"`
		RequestID string
	}
	v.Errors, v.RequestID = []problem{{e.Code, e.Message}}, "00000000-0000-0000-0000-000000000000"
	b, _ := xml.Marshal(v)
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(e.Status)
	_, _ = w.Write(b)
}

// ClearFaults takes back what Inject left.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}
