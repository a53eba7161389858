package toami_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/toami"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/replicator/restore/toterraform"
	"github.com/holdfast-backup/holdfast/replicator/source"
	ec2source "github.com/holdfast-backup/holdfast/replicator/source/ec2"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func credentials(context.Context) (store.Credentials, error) {
	return store.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
}

func server(t *testing.T) *awstest.Server {
	t.Helper()
	s, err := awstest.Start(world.New(), ebs.Options{}, ec2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func blocks(seed byte, at ...int64) *world.Blocks {
	out := map[int64][]byte{}
	r := rand.NewChaCha8([32]byte{seed})
	for _, n := range at {
		out[n] = make([]byte, world.BlockSize)
		_, _ = r.Read(out[n])
	}
	return world.NewBlocks(out)
}

// place is an account with the sample in it, and a point of it in a vault.
type place struct {
	*testing.T
	from   *awstest.Server
	sample *ec2.Sample
	repo   *restoretest.Repo
	commit *format.Commit
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{T: t, from: server(t), repo: restoretest.New(t)}
	p.sample = ec2.AddSample(p.from.EC2, blocks(1, 0, 1, 700), blocks(2, 5, 2047))
	p.backup()
	return p
}

func (p *place) backup() {
	p.Helper()
	client, err := ebsdirect.New(ebsdirect.Options{Region: "eu-central-1", Endpoint: p.from.URL, Credentials: credentials})
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(client.Close)
	src, err := ec2source.New(ec2source.Options{
		Region: "eu-central-1", Endpoint: p.from.URL, Credentials: credentials, Rate: 1e6,
		Snapshot: func(ctx context.Context, key, id string, size int64) (source.Image, error) {
			return client.Image(ctx, key, id, size, "")
		},
	})
	if err != nil {
		p.Fatal(err)
	}
	p.commit = p.repo.Backup(src)
	if p.commit.Status != format.StatusComplete {
		p.Fatalf("the point is %s", p.commit.Status)
	}
}

// restore brings AMIs back in another account.
func (p *place) restore(to *awstest.Server, change func(*toami.Options), include ...string) (restore.Result, map[string]string) {
	p.Helper()
	client, err := ebsdirect.New(ebsdirect.Options{Region: "eu-west-1", Endpoint: to.URL, Credentials: credentials, Write: true})
	if err != nil {
		p.Fatal(err)
	}
	made := map[string]string{}
	o := toami.Options{
		Region: "eu-west-1", Endpoint: to.URL, Credentials: credentials, Snapshots: tosnapshot.Options{Client: client, Where: "ec2://eu-west-1"},
		Made: func(key, id string) { made[key] = id },
	}
	if change != nil {
		change(&o)
	}
	target, err := toami.New(o)
	if err != nil {
		p.Fatal(err)
	}
	reader := p.repo.Reader(nil)
	keys, err := toami.Needed(p.Context(), reader, p.commit, include, nil)
	if err != nil {
		p.Fatal(err)
	}
	res, err := restore.Run(p.Context(), restore.Options{Reader: reader, Commit: p.commit, Target: target, Include: keys})
	if err != nil {
		p.Fatal(err)
	}
	return res, made
}

const webKey = "image/" + ec2.SampleImage + ".json"

func TestRestore(t *testing.T) {
	p := newPlace(t)
	to := server(t)
	res, made := p.restore(to, nil, webKey)
	if res.Failed != 0 || res.Missing != 0 || len(made) != 1 {
		t.Fatalf("%+v %v", res, made)
	}
	inner := to.EC2.Inner("image", made[webKey])
	for _, want := range []string{
		"<architecture>x86_64</architecture>", "<virtualizationType>hvm</virtualizationType>", "<enaSupport>true</enaSupport>", "<sriovNetSupport>simple</sriovNetSupport>",
		"<bootMode>uefi</bootMode>", "<tpmSupport>v2.0</tpmSupport>", "<imdsSupport>v2.0</imdsSupport>", "<rootDeviceName>/dev/xvda</rootDeviceName>",
		"<virtualName>ephemeral0</virtualName>", "<deleteOnTermination>false</deleteOnTermination>", "<name>web-2026-10</name>", "<description>web server</description>",
		"<key>env</key><value>prod</value>", "<iops>3000</iops>", "<throughput>125</throughput>", "<volumeSize>2</volumeSize>",
	} {
		if !strings.Contains(inner, want) {
			t.Errorf("no %s in %s", want, inner)
		}
	}
	// The content is back, and what was encrypted is.
	var encrypted int
	for _, s := range to.World.Snapshots() {
		if !strings.Contains(inner, s.ID) || s.State != "completed" {
			t.Errorf("%s is %s and not of the AMI", s.ID, s.State)
		}
		was := p.sample.Root
		if s.Encrypted {
			encrypted++
			was = p.sample.Data
		}
		for n, ok := was.Content.Next(0); ok; n, ok = was.Content.Next(n + 1) {
			want, got := make([]byte, world.BlockSize), make([]byte, world.BlockSize)
			was.Content.Read(n, want)
			s.Content.Read(n, got)
			if !bytes.Equal(want, got) {
				t.Errorf("block %d of %s differs", n, s.ID)
			}
		}
	}
	if n := len(to.World.Snapshots()); n != 2 || encrypted != 1 {
		t.Errorf("%d snapshots, %d encrypted", n, encrypted)
	}
	if !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, "210987654321") }) {
		t.Errorf("notes %q", res.Notes)
	}
	for _, a := range to.EC2.Log() {
		if a != "RegisterImage" && !strings.HasPrefix(a, "Describe") {
			t.Errorf("sent %s", a)
		}
	}
	// Once more is the same AMI, not another one.
	again, second := p.restore(to, nil, webKey)
	if again.Failed != 0 || second[webKey] != made[webKey] || len(to.World.Snapshots()) != 2 {
		t.Errorf("again: %+v %v", again, second)
	}
}

// Everything, into the account it came from: the names are taken there, and a suffix helps.
func TestSameAccount(t *testing.T) {
	p := newPlace(t)
	res, made := p.restore(p.from, nil)
	if res.Failed != 2 || len(made) != 0 || !strings.Contains(res.Failures[0].Error(), "--ami-suffix") {
		t.Errorf("%+v %v", res, made)
	}
	res, made = p.restore(p.from, func(o *toami.Options) { o.Suffix = " restored" })
	if res.Failed != 0 || len(made) != 2 {
		t.Errorf("%+v %v", res, made)
	}
	if !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, "was as Windows (RunInstances:0002)") }) {
		t.Errorf("notes %q", res.Notes)
	}
}

// An AMI that EC2 describes otherwise than it was asked for is not restored.
func TestNotAsItWas(t *testing.T) {
	p := newPlace(t)
	to := server(t)
	to.EC2.Spoil("image", "<bootMode>uefi</bootMode>", "<bootMode>legacy-bios</bootMode>")
	res, made := p.restore(to, nil, webKey)
	if res.Failed != 1 || len(made) != 0 || !strings.Contains(res.Failures[0].Error(), `boot mode is "legacy-bios" instead of "uefi"`) {
		t.Errorf("%+v %v", res, made)
	}
}

// A snapshot that does not come back keeps its AMIs from coming back, by name.
func TestSnapshotLost(t *testing.T) {
	p := newPlace(t)
	to := server(t)
	client, err := ebsdirect.New(ebsdirect.Options{Region: "eu-west-1", Endpoint: to.URL, Credentials: credentials, Write: true})
	if err != nil {
		t.Fatal(err)
	}
	target, err := toami.New(toami.Options{Region: "eu-west-1", Endpoint: to.URL, Credentials: credentials, Snapshots: tosnapshot.Options{Client: client}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := restore.Run(t.Context(), restore.Options{
		Reader: p.repo.Reader(nil), Commit: p.commit, Target: target, Include: []string{webKey, "snapshot/" + p.sample.Root.ID},
	})
	if err != nil || res.Failed != 1 || !strings.Contains(res.Failures[0].Error(), p.sample.Data.ID+" was not restored") {
		t.Errorf("%+v %v", res, err)
	}
}

func TestTerraform(t *testing.T) {
	p := newPlace(t)
	dir := t.TempDir()
	run := func(overwrite restore.Overwrite, include ...string) restore.Result {
		target, err := toterraform.New(toterraform.Options{Root: dir})
		if err != nil {
			t.Fatal(err)
		}
		res, err := restore.Run(t.Context(), restore.Options{Reader: p.repo.Reader(nil), Commit: p.commit, Target: target, Overwrite: overwrite, Include: include})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := run(restore.Never)
	if res.Failed != 0 {
		t.Fatalf("%+v", res)
	}
	for file, pieces := range map[string][]string{
		ec2.SampleVPC + ".tf.json":    {`"aws_vpc"`, `"cidr_block": "10.0.0.0/16"`, `"enable_dns_hostnames": true`, toterraform.Label},
		ec2.SampleSubnet + ".tf.json": {`"vpc_id": "${aws_vpc.` + ec2.SampleVPC + `.id}"`},
		ec2.SampleGroup + ".tf.json": {`"aws_vpc_security_group_ingress_rule"`, `"sgr-2"`, `"referenced_security_group_id": "${aws_security_group.` + ec2.SampleGroup + `.id}"`,
			`"cidr_ipv6": "::/0"`},
		ec2.SampleInstance + ".tf.json": {`"user_data_base64": "` + ec2.SampleUserData, `"disable_api_termination": true`, `"http_tokens": "required"`,
			`"${aws_security_group.` + ec2.SampleGroup + `.id}"`, `"iam_instance_profile": "web"`, "put the restored one's ID here"},
		ec2.SampleTemplate + ".tf.json": {`"instance_type": "m7i.large"`, "version 2 of 2; the default was 1"},
		ec2.SampleAddress + ".tf.json":  {`"instance": "${aws_instance.` + ec2.SampleInstance + `.id}"`, "203.0.113.17"},
	} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range pieces {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s does not hold %s:\n%s", file, want, b)
			}
		}
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 7 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
