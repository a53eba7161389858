// Command awsd is the in-test AWS as a process of its own, for the demo and for clients in other languages. It is no part of
// the program that users run.
//
//	awsd FOLDER [ROOT DATA]   an account with the sample machines, whose AMI's two disks hold the files; without, an empty one
//
// It prints one line of JSON, {"url": .., "image": .., "snapshots": [..]}, and serves until its standard input ends. Then it
// writes every completed snapshot into the folder as ID.raw, and the AMIs as images.xml.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

func main() {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // whoever started it closes its standard input
	if err := serve(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "awsd:", err)
		os.Exit(1)
	}
}

func serve(args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) != 1 && len(args) != 3 {
		return errors.New("usage: awsd FOLDER [ROOT DATA]")
	}
	s, err := awstest.Start(world.New(), ebs.Options{}, ec2.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ready := struct {
		URL       string   `json:"url"`
		Image     string   `json:"image,omitempty"`
		Snapshots []string `json:"snapshots,omitempty"`
	}{URL: s.URL}
	if len(args) == 3 {
		var disks [2]world.Content
		for i, path := range args[1:] {
			f, err := world.OpenFile(path)
			if err != nil {
				return err
			}
			defer f.Close()
			disks[i] = f
		}
		sample := ec2.AddSample(s.EC2, disks[0], disks[1])
		ready.Image, ready.Snapshots = ec2.SampleImage, []string{sample.Root.ID, sample.Data.ID}
	}
	if err := json.NewEncoder(out).Encode(ready); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return dump(s, args[0])
}

// dump writes what the account holds.
func dump(s *awstest.Server, dir string) error {
	var images strings.Builder
	for _, x := range s.EC2.Items("image") {
		fmt.Fprintf(&images, "<item>%s</item>\n", x)
	}
	if err := os.WriteFile(filepath.Join(dir, "images.xml"), []byte(images.String()), 0o600); err != nil {
		return err
	}
	for _, snap := range s.World.Snapshots() {
		if snap.State != "completed" {
			continue
		}
		if err := snap.WriteRaw(filepath.Join(dir, snap.ID+".raw")); err != nil {
			return err
		}
	}
	return nil
}
