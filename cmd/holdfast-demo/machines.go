package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// machinesName is the source that protects the company's machines.
const machinesName = "machines"

// diskSize is that of each of the web server's disks.
const diskSize = 1 << 30

// diskStart is where files begin on a disk.
const diskStart = 1 << 20

// disk is one of the AMI's, as it was before the attack.
type disk struct {
	device string // as the AMI names it
	path   string // the content
}

// setUpMachines makes the web server's disks, which hold files of the same tree, and the account that it runs in.
func (d *demo) setUpMachines(ctx context.Context, files []sourceFile) (err error) {
	if d.aws, err = buildCloud(ctx, d.dir); err != nil {
		return err
	}
	d.disks = []disk{{"/dev/xvda", filepath.Join(d.dir, "root.raw")}, {"/dev/sdf", filepath.Join(d.dir, "data.raw")}}
	backwards := slices.Clone(files)
	slices.Reverse(backwards)
	for i, files := range [][]sourceFile{files, backwards[:len(files)/2]} {
		if err := fillDisk(d.disks[i].path, files); err != nil {
			return err
		}
	}
	d.machines, err = d.startCloud(ctx, "cloud", d.disks[0].path, d.disks[1].path)
	return err
}

// fillDisk makes a disk with the contents of files, one behind the other.
func fillDisk(path string, files []sourceFile) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(diskSize); err != nil {
		return err
	}
	at := int64(diskStart)
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
	return nil
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
	if err := d.machines.stop(); err != nil {
		return err
	}
	images, disks, err := d.machines.left()
	if err != nil {
		return err
	}
	for _, x := range images {
		if x.ID == d.machines.Image {
			return fmt.Errorf("%s is still there after it was deleted", x.ID)
		}
	}
	if len(disks) > 0 {
		return fmt.Errorf("%s are still there after they were deleted", plural(len(disks), "snapshot"))
	}
	d.story.say("Deleted: the web server's AMI, %s, and the snapshots of its disks,\n  %s. Not one is left.",
		d.machines.Image, strings.Join(d.machines.Snapshots, " and "))
	return nil
}

// restoreMachines brings the AMI back in an empty account, and compares its disks.
func (d *demo) restoreMachines(ctx context.Context, m *machine, vault []string) error {
	fresh, err := d.startCloud(ctx, "rebuilt-cloud")
	if err != nil {
		return err
	}
	defer func() { _ = fresh.stop() }() // it was stopped, unless something failed before
	d.story.say("rebuilt   %s  an empty account: no AMI, no snapshot", fresh.URL)
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
	if d.corrupt {
		if err := d.flipDiskBit(fresh); err != nil {
			return err
		}
	}
	bytes := int64(0)
	d.imageDiffers, bytes, err = d.compareMachines(fresh)
	if err != nil {
		return err
	}
	d.story.say("Compared, byte for byte, with what was there before the attack:\n  %s, %s, and the AMI's fields: %s.",
		plural(len(d.disks), "disk"), bytesOf(bytes), plural(len(d.imageDiffers), "difference"))
	return nil
}

// flipDiskBit is what -corrupt does to a restored disk.
func (d *demo) flipDiskBit(c *cloud) error {
	_, disks, err := c.left()
	if err != nil || len(disks) == 0 {
		return err
	}
	f, err := os.OpenFile(disks[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, diskStart); err != nil {
		return err
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, diskStart); err != nil {
		return err
	}
	d.story.say("-corrupt: one bit of %s is flipped.", strings.TrimSuffix(filepath.Base(disks[0]), ".raw"))
	return f.Close()
}

// image is what of an AMI is compared, as EC2 describes it.
type image struct {
	ID             string `xml:"imageId"`
	Name           string `xml:"name"`
	Architecture   string `xml:"architecture"`
	Virtualization string `xml:"virtualizationType"`
	BootMode       string `xml:"bootMode"`
	Root           string `xml:"rootDeviceName"`
	Mappings       []struct {
		Device   string `xml:"deviceName"`
		Snapshot string `xml:"ebs>snapshotId"`
	} `xml:"blockDeviceMapping>item"`
}

// left is what an account that was stopped held: its AMIs, and the files with its snapshots' contents.
func (c *cloud) left() (images []image, disks []string, err error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "images.xml"))
	if err != nil {
		return nil, nil, err
	}
	var all struct {
		Items []image `xml:"item"`
	}
	if err := xml.Unmarshal(slices.Concat([]byte("<all>"), text, []byte("</all>")), &all); err != nil {
		return nil, nil, err
	}
	disks, err = filepath.Glob(filepath.Join(c.dir, "*.raw"))
	return all.Items, disks, err
}

// compareMachines holds the AMI of an account that was stopped, and each of its disks, against what there was.
func (d *demo) compareMachines(c *cloud) (differences []string, compared int64, err error) {
	images, _, err := c.left()
	if err != nil {
		return nil, 0, err
	}
	if len(images) != 1 {
		return []string{fmt.Sprintf("%s instead of one", plural(len(images), "AMI"))}, 0, nil
	}
	x := images[0]
	want := image{Name: "web-2026-10", Architecture: "x86_64", Virtualization: "hvm", BootMode: "uefi", Root: d.disks[0].device}
	for _, f := range []struct{ what, is, want string }{
		{"name", x.Name, want.Name}, {"architecture", x.Architecture, want.Architecture}, {"virtualization", x.Virtualization, want.Virtualization},
		{"boot mode", x.BootMode, want.BootMode}, {"root device", x.Root, want.Root},
	} {
		if f.is != f.want {
			differences = append(differences, fmt.Sprintf("%s %q instead of %q", f.what, f.is, f.want))
		}
	}
	for _, was := range d.disks {
		snapshot := ""
		for _, m := range x.Mappings {
			if m.Device == was.device {
				snapshot = m.Snapshot
			}
		}
		at, n, err := firstDifference(was.path, filepath.Join(c.dir, snapshot+".raw"))
		switch {
		case snapshot == "" || errors.Is(err, os.ErrNotExist):
			differences = append(differences, was.device+": missing")
		case err != nil:
			return nil, 0, err
		case at >= 0:
			differences = append(differences, fmt.Sprintf("%s (%s): other bytes from %d on", was.device, snapshot, at))
		}
		compared += n
	}
	return differences, compared, nil
}

// firstDifference gives where two files differ first, within 64 KiB, -1 if nowhere, and how many bytes are the same up to there.
func firstDifference(one, other string) (at, n int64, err error) {
	a, err := os.Open(one)
	if err != nil {
		return 0, 0, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return 0, 0, err
	}
	defer b.Close()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		i, aerr := io.ReadFull(a, x)
		j, berr := io.ReadFull(b, y)
		for _, err := range []error{aerr, berr} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return 0, n, err
			}
		}
		if !bytes.Equal(x[:i], y[:j]) {
			return n, n, nil
		}
		n += int64(i)
		if i < len(x) {
			return -1, n, nil
		}
	}
}
