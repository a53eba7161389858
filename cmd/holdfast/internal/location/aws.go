package location

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// AWS is what ebs:// and ec2:// URLs name: resources of a region.
type AWS struct {
	Region    string
	Endpoint  string // URL; empty: AWS
	Tags      []Tag  // resources that have all of these
	Snapshots []string
	Volumes   []string
	Instances []string // ebs: whose volumes are snapshotted first
	All       bool     // ebs: every snapshot, not only the newest of each volume
}

// Tag is a tag's key and value.
type Tag struct{ Key, Value string }

var (
	regionForm = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
	idForm     = regexp.MustCompile(`^(snap|vol|i|ami)-[0-9a-f]{8,17}$`)
)

func parseAWS(kind Kind, text string, u *url.URL) (Location, error) {
	a := AWS{Region: u.Host}
	if u.Path != "" && u.Path != "/" || !regionForm.MatchString(u.Host) {
		return Location{}, fmt.Errorf("%s URLs name a region and nothing else: %s://eu-west-1", kind, kind)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, errors.New("the parameters cannot be read; write %26 and %3D where & and = are part of a value")
	}
	for name, values := range q {
		if err := a.take(kind, name, values); err != nil {
			return Location{}, err
		}
	}
	if len(a.Snapshots) > 0 && len(a.Tags)+len(a.Volumes)+len(a.Instances) > 0 {
		return Location{}, errors.New("snapshot= names what is read; tag=, volume= and create= do not go with it")
	}
	slices.SortFunc(a.Tags, func(x, y Tag) int { return strings.Compare(x.Key, y.Key) })
	return Location{Kind: kind, Text: text, AWS: &a}, nil
}

func (a *AWS) take(kind Kind, name string, values []string) error {
	ids := func(to *[]string, prefix string) error {
		for _, v := range values {
			if !idForm.MatchString(v) || !strings.HasPrefix(v, prefix) {
				return fmt.Errorf("%s=%s is no ID that begins with %s", name, clip(v), prefix)
			}
			*to = append(*to, v)
		}
		return nil
	}
	switch {
	case name == "endpoint" && len(values) == 1:
		e, err := url.Parse(values[0])
		switch {
		case err != nil || e.Scheme != "https" && e.Scheme != "http" || e.Host == "" || e.RawQuery != "":
			return errors.New("endpoint takes a URL such as https://HOST")
		case e.User != nil:
			return ErrSecret
		}
		a.Endpoint = strings.TrimSuffix(values[0], "/")
		return nil
	case name == "tag":
		for _, v := range values {
			key, value, ok := strings.Cut(v, ":")
			if !ok || key == "" {
				return fmt.Errorf("tag=%s: write tag=KEY:VALUE", clip(v))
			}
			a.Tags = append(a.Tags, Tag{key, value})
		}
		return nil
	case name == "all" && kind == EBS && len(values) == 1 && (values[0] == "true" || values[0] == "false"):
		a.All = values[0] == "true"
		return nil
	case name == "snapshot" && kind == EBS:
		return ids(&a.Snapshots, "snap-")
	case name == "volume" && kind == EBS:
		return ids(&a.Volumes, "vol-")
	case name == "create" && kind == EBS:
		return ids(&a.Instances, "i-")
	case secretParameter(name):
		return ErrSecret
	}
	if kind == EBS {
		return fmt.Errorf("%s is no parameter of an ebs:// URL, or not with that value; there are endpoint, tag, snapshot, volume, all=true and create", clip(name))
	}
	return fmt.Errorf("%s is no parameter of an %s:// URL; there are endpoint and tag", clip(name), kind)
}

// loopback reports whether an endpoint is this machine.
func loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Hostname() == "localhost" || u.Hostname() == "::1" || strings.HasPrefix(u.Hostname(), "127."))
}
