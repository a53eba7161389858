package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// machinesName is the source that protects the company's machines.
const machinesName = "machines"

// diskSize is that of the web server's root volume.
const diskSize = 1 << 30

// cloud is an account with machines: Holdfast's own in-test server of EC2 and the EBS direct APIs, a process of its own. No
// real one can be had on this machine.
type cloud struct {
	URL       string
	Image     string
	Snapshots []string

	cmd   *exec.Cmd
	stdin io.Closer
	dir   string // where it writes what it holds when it ends
}

// startCloud starts one with the sample machines, whose web server has the disk; none: an empty account.
func (d *demo) startCloud(ctx context.Context, name, disk string) (*cloud, error) {
	c := &cloud{dir: filepath.Join(d.dir, name)}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	if disk == "" {
		disk = "-"
	}
	c.cmd = exec.Command(d.aws, disk, c.dir)
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = in
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = in.Close() })
	defer stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, c)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the cloud %s: %w", name, err), c.stop())
	}
	return c, nil
}

// stop ends it, and waits until it has written what it held.
func (c *cloud) stop() error {
	if c == nil || c.cmd == nil {
		return nil
	}
	_ = c.stdin.Close()
	err := c.cmd.Wait()
	c.cmd = nil
	return err
}

// ask sends one request to EC2 as the account's administrator.
func (c *cloud) ask(ctx context.Context, action string, parameters ...string) error {
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for i := 0; i+1 < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(body))
	admin := newAccount("cloud-admin")
	keys := aws.Credentials{AccessKeyID: admin.ID, SecretAccessKey: admin.Secret}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), "ec2", region, time.Now()); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", action, resp.Status, text)
	}
	return err
}

// buildCloud builds the in-test server from the tree.
func buildCloud(ctx context.Context, dir string) (string, error) {
	root, err := treeRoot(ctx)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "awsd")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin, "./replicator/awstest/awsd")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the cloud: %w\n%s", err, bytes.TrimSpace(out))
	}
	return bin, nil
}

// setUpMachines makes the web server's disk, which holds the same files, and the account that it runs in.
func (d *demo) setUpMachines(ctx context.Context, files []sourceFile) (err error) {
	if d.aws, err = buildCloud(ctx, d.dir); err != nil {
		return err
	}
	d.disk = filepath.Join(d.dir, "disk.raw")
	f, err := os.Create(d.disk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(diskSize); err != nil {
		return err
	}
	at := int64(1 << 20)
	for _, s := range files {
		body, err := os.ReadFile(s.path)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(body, at); err != nil {
			return err
		}
		at += (int64(len(body))/4096 + 1) * 4096
		if at > diskSize/2 {
			break
		}
	}
	d.machines, err = d.startCloud(ctx, "cloud", d.disk)
	return err
}

// deleteMachines is the attack on the machines: the AMIs first, then their snapshots, as AWS wants it.
func (d *demo) deleteMachines(ctx context.Context) error {
	for _, id := range []string{d.machines.Image, "ami-0f00000000000000f"} {
		if err := d.machines.ask(ctx, "DeregisterImage", "ImageId", id); err != nil {
			return err
		}
	}
	for _, id := range d.machines.Snapshots {
		if err := d.machines.ask(ctx, "DeleteSnapshot", "SnapshotId", id); err != nil {
			return err
		}
	}
	d.story.say("Deleted: the AMI of the web server, %s, and its %s. Nothing is left to start it from.", d.machines.Image, plural(len(d.machines.Snapshots), "snapshot"))
	return d.machines.stop()
}

// restoreMachines brings the AMI back in an empty account, and compares its root volume.
func (d *demo) restoreMachines(ctx context.Context, m *machine, vault []string) error {
	fresh, err := d.startCloud(ctx, "rebuilt-cloud", "")
	if err != nil {
		return err
	}
	defer func() { _ = fresh.stop() }() // it was stopped, unless something failed before
	began := time.Now()
	args := append([]string{"restore", machinesName + "@latest"}, vault...)
	args = append(args, "--identity", "../safe/restore-1.key", "--include", "image/"+d.machines.Image+".json",
		"--to", "ec2://"+region+"?endpoint="+fresh.URL, "--to-credentials", "env:NEW")
	if _, err := m.holdfast(ctx, []int{0, 4}, args...); err != nil {
		return err
	}
	d.imageTook = time.Since(began)
	if err := fresh.stop(); err != nil {
		return err
	}
	d.imageDiffers, err = d.compareMachines(fresh.dir)
	if err != nil {
		return err
	}
	d.story.say("Compared with the disk as it was, block by block, through the new AMI and its snapshot: %s.", plural(len(d.imageDiffers), "difference"))
	return nil
}

// compareMachines looks for an AMI that has a snapshot with the disk's content as its root.
func (d *demo) compareMachines(dir string) (differences []string, err error) {
	images, err := os.ReadFile(filepath.Join(dir, "images.xml"))
	if err != nil {
		return nil, err
	}
	for _, want := range []string{"<name>web-2026-10</name>", "<architecture>x86_64</architecture>", "<virtualizationType>hvm</virtualizationType>", "<bootMode>uefi</bootMode>"} {
		if !bytes.Contains(images, []byte(want)) {
			differences = append(differences, "the new AMI has no "+want)
		}
	}
	want, err := sumOfFile(d.disk)
	if err != nil {
		return nil, err
	}
	disks, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	if err != nil {
		return nil, err
	}
	for _, path := range disks {
		id := strings.TrimSuffix(filepath.Base(path), ".raw")
		is, err := sumOfFile(path)
		if err != nil {
			return nil, err
		}
		if is == want && bytes.Contains(images, []byte("<snapshotId>"+id+"<")) {
			return differences, nil
		}
	}
	return append(differences, fmt.Sprintf("none of %s is the disk as it was", plural(len(disks), "snapshot"))), nil
}

func sumOfFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
