package awstest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/store/storetest/programs"
)

const accessKey = "AKIDTEST"

// cli is the AWS command line client, which nobody here wrote: what it reads from the in-test servers and writes to them
// must be what is there, so that they are not merely what our own client takes them for.
type cli struct {
	bin string
	srv *awstest.Server
	env []string
	dir string
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	bin := programs.Need(t, "aws")
	s, err := awstest.Start(world.New(), ebs.Options{AccessKey: accessKey}, ec2.Options{AccessKey: accessKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	return &cli{bin: bin, srv: s, dir: dir, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
	}}
}

// try runs a command and gives what it prints.
func (c *cli) try(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	args = append(args, "--endpoint-url", c.srv.URL, "--region", "eu-west-1", "--output", "json")
	cmd := exec.CommandContext(t.Context(), c.bin, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("aws %s: %w\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out, err
}

func (c *cli) ask(t *testing.T, v any, args ...string) {
	t.Helper()
	out, err := c.try(t, args...)
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func noise(seed byte) []byte {
	b := make([]byte, world.BlockSize)
	sum := sha256.Sum256([]byte{seed})
	for i := 0; i < len(b); i += len(sum) {
		copy(b[i:], sum[:])
		sum = sha256.Sum256(sum[:])
	}
	return b
}

func base64Of(sum [32]byte) string { return base64.StdEncoding.EncodeToString(sum[:]) }

// Every command of `aws ebs` agrees with what the in-test server holds.
func TestSecondClient(t *testing.T) {
	c := newCLI(t)
	w := c.srv.World
	held := map[int64][]byte{}
	for n := range int64(150) {
		held[n*13] = noise(byte(n))
	}
	changed := map[int64][]byte{13: noise(200), 26: nil, 27: noise(201)}
	v := w.AddVolume(world.Volume{SizeGiB: 2})
	add := func(content world.Content, ago time.Duration, lineage string) *world.Snapshot {
		return w.AddSnapshot(world.Snapshot{VolumeID: v.ID, Lineage: lineage, SizeGiB: 2, Started: time.Now().Add(-ago), Content: content, Tags: map[string]string{"backup": "yes"}})
	}
	base := add(world.NewBlocks(held), 3*time.Hour, "")
	later := add(world.NewBlocks(held).With(changed), 2*time.Hour, "")
	stranger := add(world.NewBlocks(held), time.Hour, "another")

	t.Run("list, get", func(t *testing.T) { t.Parallel(); c.reads(t, base, held) })
	t.Run("changes", func(t *testing.T) { t.Parallel(); c.compares(t, base, later, stranger) })
	t.Run("write", func(t *testing.T) { t.Parallel(); c.writes(t) })
}

func (c *cli) reads(t *testing.T, s *world.Snapshot, held map[int64][]byte) {
	type block struct {
		BlockIndex int64
		BlockToken string
	}
	var all []block
	for token := ""; ; {
		var page struct {
			Blocks                []block
			VolumeSize, BlockSize int64
			NextToken             string
		}
		args := []string{"ebs", "list-snapshot-blocks", "--snapshot-id", s.ID, "--max-results", "100"}
		if token != "" {
			args = append(args, "--next-token", token)
		}
		c.ask(t, &page, args...)
		if page.VolumeSize != 2 || page.BlockSize != world.BlockSize || len(page.Blocks) > 100 {
			t.Errorf("%d GiB in blocks of %d bytes, %d on a page", page.VolumeSize, page.BlockSize, len(page.Blocks))
		}
		all = append(all, page.Blocks...)
		if token = page.NextToken; token == "" {
			break
		}
	}
	for i, b := range all {
		if b.BlockIndex != int64(i)*13 {
			t.Fatalf("line %d of the listing is block %d", i, b.BlockIndex)
		}
	}
	if len(all) != len(held) {
		t.Fatalf("%d blocks are listed of %d", len(all), len(held))
	}
	b := all[len(all)-1]
	file := filepath.Join(c.dir, "block")
	var got struct {
		DataLength                  any // a number; Debian's 2.9 makes it a string
		Checksum, ChecksumAlgorithm string
	}
	c.ask(t, &got, "ebs", "get-snapshot-block", "--snapshot-id", s.ID, "--block-index", strconv.FormatInt(b.BlockIndex, 10), "--block-token", b.BlockToken, file)
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := held[b.BlockIndex]
	if !bytes.Equal(body, want) || fmt.Sprint(got.DataLength) != strconv.Itoa(world.BlockSize) || got.Checksum != base64Of(sha256.Sum256(want)) || got.ChecksumAlgorithm != "SHA256" {
		t.Errorf("block %d: %d bytes, %+v", b.BlockIndex, len(body), got)
	}
}

func (c *cli) compares(t *testing.T, base, later, stranger *world.Snapshot) {
	var got struct {
		ChangedBlocks []struct {
			BlockIndex                        int64
			FirstBlockToken, SecondBlockToken string
		}
	}
	c.ask(t, &got, "ebs", "list-changed-blocks", "--first-snapshot-id", base.ID, "--second-snapshot-id", later.ID)
	var lines []string
	for _, b := range got.ChangedBlocks {
		lines = append(lines, fmt.Sprint(b.BlockIndex, b.FirstBlockToken != "", b.SecondBlockToken != ""))
	}
	if want := []string{"13 true true", "26 true false", "27 false true"}; !slices.Equal(lines, want) {
		t.Errorf("%q instead of %q", lines, want)
	}
	_, err := c.try(t, "ebs", "list-changed-blocks", "--first-snapshot-id", base.ID, "--second-snapshot-id", stranger.ID)
	if err == nil || !strings.Contains(err.Error(), "(ValidationException)") {
		t.Errorf("snapshots of two lineages: %v", err)
	}
}

func (c *cli) writes(t *testing.T) {
	file, block := filepath.Join(c.dir, "out"), noise(77)
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(block)
	var started struct {
		SnapshotId, Status string
		VolumeSize         int64
	}
	c.ask(t, &started, "ebs", "start-snapshot", "--volume-size", "1", "--client-token", "once", "--tags", "Key=name,Value=made")
	if started.Status != "pending" || started.VolumeSize != 1 {
		t.Fatalf("%+v", started)
	}
	put := []string{"ebs", "put-snapshot-block", "--snapshot-id", started.SnapshotId, "--block-index", "3", "--block-data", file,
		"--data-length", strconv.Itoa(world.BlockSize), "--checksum-algorithm", "SHA256", "--checksum"}
	if _, err := c.try(t, append(put, base64Of([32]byte{}))...); err == nil || !strings.Contains(err.Error(), "(ValidationException)") {
		t.Errorf("a block with another's checksum: %v", err)
	}
	var answer struct{ Checksum string }
	c.ask(t, &answer, append(put, base64Of(sum))...)
	if answer.Checksum != base64Of(sum) {
		t.Errorf("%+v", answer)
	}
	var done struct{ Status string }
	c.ask(t, &done, "ebs", "complete-snapshot", "--snapshot-id", started.SnapshotId, "--changed-blocks-count", "1",
		"--checksum", ebs.Linear(map[int64][32]byte{3: sum}), "--checksum-algorithm", "SHA256", "--checksum-aggregation-method", "LINEAR")
	s := c.srv.World.Snapshot(started.SnapshotId)
	held := make([]byte, world.BlockSize)
	s.Content.Read(3, held)
	if n, _ := s.Content.Next(0); s.State != "completed" || n != 3 || !bytes.Equal(held, block) {
		t.Errorf("%s is %s, its first block is %d", s.ID, s.State, n)
	}
	var described struct {
		Snapshots []struct {
			SnapshotId, State, StorageTier string
			VolumeSize                     int64
			Tags                           []struct{ Key, Value string }
		}
	}
	c.ask(t, &described, "ec2", "describe-snapshots", "--snapshot-ids", s.ID)
	if text := fmt.Sprint(described.Snapshots); text != "[{"+s.ID+" completed standard 1 [{name made}]}]" {
		t.Errorf("described as %s", text)
	}
}
