package toami

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/restore"
)

// client asks EC2.
type client struct {
	*ec2.Client
	idle *http.Transport
}

const (
	connections = 4
	maxRequest  = 1 << 20
)

func connect(o Options) *client {
	c := &client{idle: awsclient.NewTransport(connections, time.Minute)}
	keys, stack := awsclient.Signed(o.Credentials)
	opts := ec2.Options{
		Region: o.Region, Credentials: keys, APIOptions: stack,
		HTTPClient: awsclient.Client(onlyRegisters{c.idle}),
		Retryer:    awsclient.Retryer(0, nil),
	}
	if o.Endpoint != "" {
		opts.BaseEndpoint = aws.String(o.Endpoint)
	}
	c.Client = ec2.New(opts)
	return c
}

func (c *client) close() { c.idle.CloseIdleConnections() }

// onlyRegisters lets nothing through that could take anything away.
type onlyRegisters struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o onlyRegisters) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxRequest+1))
	_ = req.Body.Close()
	if err != nil || len(body) > maxRequest {
		return nil, fmt.Errorf("a request that cannot be read is not sent: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if action := form.Get("Action"); err != nil || action != "RegisterImage" && !strings.HasPrefix(action, "Describe") {
		return nil, fmt.Errorf("refused to send %q: a restore registers AMIs and takes nothing away", action)
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return o.next.RoundTrip(req)
}

// image registers one AMI, or finds the one that an earlier try registered, and compares it with what it was.
func (t *Target) image(ctx context.Context, d *Definition) (string, error) {
	in, err := t.registration(d)
	if err != nil {
		return "", err
	}
	id, err := t.there(ctx, d, in)
	if err != nil {
		return "", err
	}
	if id == "" {
		out, err := t.api.RegisterImage(ctx, in)
		if err != nil {
			return "", awsclient.Explain("register "+*in.Name, err)
		}
		id = aws.ToString(out.ImageId)
	}
	got, err := t.available(ctx, id)
	if err != nil {
		return "", err
	}
	if err := t.compare(ctx, in, got); err != nil {
		return "", fmt.Errorf("%s was registered and is not as it was: %w", id, err)
	}
	t.lost(d, got)
	return id, nil
}

// registration makes the request: every field that RegisterImage has and that was recorded.
func (t *Target) registration(d *Definition) (*ec2.RegisterImageInput, error) {
	x := &d.Image
	in := &ec2.RegisterImageInput{
		Name: aws.String(aws.ToString(x.Name) + t.o.Suffix), Description: x.Description, Architecture: x.Architecture,
		VirtualizationType: aws.String(string(x.VirtualizationType)), RootDeviceName: x.RootDeviceName, EnaSupport: aws.Bool(aws.ToBool(x.EnaSupport)),
		SriovNetSupport: x.SriovNetSupport, BootMode: x.BootMode, TpmSupport: x.TpmSupport, ImdsSupport: x.ImdsSupport,
		KernelId: x.KernelId, RamdiskId: x.RamdiskId,
	}
	if d.ImageAttribute.UefiData != nil {
		in.UefiData = d.ImageAttribute.UefiData.Value
	}
	if !aws.ToBool(in.EnaSupport) {
		in.EnaSupport = nil // a PV image cannot have it, not even as false
	}
	if tags := ownTags(x.Tags); len(tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: tags}}
	}
	for _, m := range x.BlockDeviceMappings {
		n, err := t.device(m)
		if err != nil {
			return nil, err
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, n)
	}
	return in, nil
}

// ownTags drops those that AWS sets and nobody else may.
func ownTags(tags []types.Tag) []types.Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t types.Tag) bool { return strings.HasPrefix(strings.ToLower(aws.ToString(t.Key)), "aws:") })
}

// device is a mapping with the new snapshot in the place of the old.
func (t *Target) device(m types.BlockDeviceMapping) (types.BlockDeviceMapping, error) {
	out := types.BlockDeviceMapping{DeviceName: m.DeviceName, VirtualName: m.VirtualName, NoDevice: m.NoDevice}
	if m.Ebs == nil {
		return out, nil
	}
	e := &types.EbsBlockDevice{DeleteOnTermination: m.Ebs.DeleteOnTermination, VolumeSize: m.Ebs.VolumeSize, VolumeType: m.Ebs.VolumeType}
	switch m.Ebs.VolumeType { // of others it is described and must not be asked for
	case types.VolumeTypeIo1, types.VolumeTypeIo2:
		e.Iops = m.Ebs.Iops
	case types.VolumeTypeGp3:
		e.Iops, e.Throughput = m.Ebs.Iops, m.Ebs.Throughput
	}
	if m.Ebs.SnapshotId == nil {
		e.Encrypted = m.Ebs.Encrypted
	} else {
		// Whether it is encrypted the snapshot says; the request must not.
		id, ok := t.made[*m.Ebs.SnapshotId]
		if !ok {
			return out, fmt.Errorf("%w: its snapshot %s was not restored, see there", restore.ErrRefused, *m.Ebs.SnapshotId)
		}
		e.SnapshotId = aws.String(id)
	}
	out.Ebs = e
	return out, nil
}

// there finds an AMI of the account's own with the name. One that was made of the same snapshots is an earlier try's.
func (t *Target) there(ctx context.Context, d *Definition, in *ec2.RegisterImageInput) (string, error) {
	out, err := t.api.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, IncludeDisabled: aws.Bool(true), IncludeDeprecated: aws.Bool(true),
		Filters: []types.Filter{{Name: aws.String("name"), Values: []string{*in.Name}}},
	})
	if err != nil {
		return "", awsclient.Explain("look for an AMI named "+*in.Name, err)
	}
	for _, x := range out.Images {
		if aws.ToString(x.Name) != *in.Name { // a filter takes wildcards
			continue
		}
		if slices.Equal((&Definition{Image: x}).Snapshots(), (&Definition{Image: types.Image{BlockDeviceMappings: in.BlockDeviceMappings}}).Snapshots()) {
			return aws.ToString(x.ImageId), nil
		}
		return "", fmt.Errorf("%w: the name %q belongs to %s, and names are unique in an account: deregister that one, or add to the names with --ami-suffix", restore.ErrRefused, *in.Name, aws.ToString(x.ImageId))
	}
	return "", nil
}

// available waits until an AMI can be used.
func (t *Target) available(ctx context.Context, id string) (*types.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, t.o.Wait)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		out, err := t.api.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDisabled: aws.Bool(true)})
		if err != nil && !notYet(err) {
			return nil, awsclient.Explain("describe "+id, err)
		}
		if err == nil && len(out.Images) == 1 {
			switch x := out.Images[0]; x.State {
			case types.ImageStateAvailable:
				return &x, nil
			case types.ImageStatePending:
			default:
				return nil, fmt.Errorf("%s is %s: %s", id, x.State, reason(x.StateReason))
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is not available: %w", id, ctx.Err())
		}
	}
}

// notYet reports whether EC2 does not know an AMI that was just registered.
func notYet(err error) bool { return awsclient.AnswerOf(err).Code == "InvalidAMIID.NotFound" }

func reason(r *types.StateReason) string {
	if r == nil {
		return "no reason given"
	}
	return aws.ToString(r.Message)
}
