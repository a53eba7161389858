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

// cloud is an account with machines: Holdfast's own in-test server of EC2 and the EBS direct APIs, a process of its own. No
// real one can be had on this machine.
type cloud struct {
	URL       string
	Image     string
	Snapshots []string // the AMI's, in the order of its disks

	cmd   *exec.Cmd
	stdin io.Closer
	dir   string // where it writes what it holds when it ends
}

// startCloud starts one with the sample machines, whose AMI has the disks; none: an empty account.
func (d *demo) startCloud(ctx context.Context, name string, disks ...string) (*cloud, error) {
	c := &cloud{dir: filepath.Join(d.dir, name)}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	c.cmd = exec.Command(d.aws, append([]string{c.dir}, disks...)...)
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
