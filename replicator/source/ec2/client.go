package ec2source

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/smithy-go"
	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
)

// clients are the services that know of machines.
type clients struct {
	ec2     *ec2.Client
	scaling *autoscaling.Client
	elb     *elasticloadbalancingv2.Client
}

const connections = 16 // kept open

// connect makes the clients. They are built from options alone, so no environment variable changes where requests go.
func (s *Source) connect() {
	rt := s.o.Transport
	if rt == nil {
		s.idle = awsclient.NewTransport(connections, time.Minute)
		rt = s.idle
	}
	hc := awsclient.Client(awsclient.Describes{Next: rt, Limit: rate.NewLimiter(rate.Limit(s.o.Rate), max(int(2*s.o.Rate), 1))})
	again := awsclient.Retryer(s.o.MaxBackoff, nil) // EC2's throttles last for seconds, so each wait is longer than the one before
	var base *string
	if s.o.Endpoint != "" {
		base = aws.String(s.o.Endpoint)
	}
	keys, limits := awsclient.Signed(s.o.Credentials)
	s.clients = clients{
		ec2:     ec2.New(ec2.Options{Region: s.o.Region, BaseEndpoint: base, Credentials: keys, HTTPClient: hc, Retryer: again, APIOptions: limits}),
		scaling: autoscaling.New(autoscaling.Options{Region: s.o.Region, BaseEndpoint: base, Credentials: keys, HTTPClient: hc, Retryer: again, APIOptions: limits}),
		elb: elasticloadbalancingv2.New(elasticloadbalancingv2.Options{
			Region: s.o.Region, BaseEndpoint: base, Credentials: keys, HTTPClient: hc, Retryer: again, APIOptions: limits,
		}),
	}
}

// elsewhere makes a client of EC2 in another region, with a rate of its own: each region counts for itself.
func (s *Source) elsewhere(region string) *ec2.Client {
	var rt http.RoundTripper = s.idle
	if s.o.Transport != nil {
		rt = s.o.Transport
	}
	var base *string
	if s.o.Endpoint != "" {
		base = aws.String(s.o.Endpoint)
	}
	keys, limits := awsclient.Signed(s.o.Credentials)
	return ec2.New(ec2.Options{
		Region: region, BaseEndpoint: base, Credentials: keys, APIOptions: limits, Retryer: awsclient.Retryer(s.o.MaxBackoff, nil),
		HTTPClient: awsclient.Client(awsclient.Describes{Next: rt, Limit: rate.NewLimiter(rate.Limit(s.o.Rate), 2)}),
	})
}

func (s *Source) drain() {
	if s.idle != nil {
		s.idle.CloseIdleConnections()
	}
}

// refused reports whether err says that this one action is not to be had, and in what words that is recorded.
func refused(err error) (why string, ok bool) {
	switch awsclient.AnswerOf(err).Code {
	case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "UnauthorizedAccess":
		return "access denied", true
	case "InvalidAction", "UnsupportedOperation", "OptInRequired", "Unsupported":
		return "not offered here", true
	}
	return "", false
}

// gone reports whether err says that a resource is no longer there: Invalid*ID.NotFound, in many spellings.
func gone(err error) bool {
	code := awsclient.AnswerOf(err).Code
	return strings.Contains(code, "NotFound") || strings.HasSuffix(code, "Unavailable") && strings.HasPrefix(code, "InvalidAMI")
}

// actionOf names the action that failed: that of the request, or else of the kind.
func actionOf(err error, otherwise string) string {
	op, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return otherwise
	}
	service := map[string]string{"EC2": "ec2", "Auto Scaling": "autoscaling", "Elastic Load Balancing v2": "elasticloadbalancing"}[op.Service()]
	if service == "" {
		return otherwise
	}
	return service + ":" + op.Operation()
}
