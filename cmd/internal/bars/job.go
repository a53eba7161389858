package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// place is a bucket or a directory with the credentials that reach it.
type place struct {
	url   string
	creds store.Credentials // none for a directory
}

// bucketAt is a bucket without the recording proxy, which would cost time and memory here.
func bucketAt(s *servers.Server, bucket, prefix string, c store.Credentials) place {
	l := s3url.Location{Bucket: bucket, Prefix: prefix, Endpoint: s.Direct, Region: servers.Region, PathStyle: true}
	return place{l.String(), c}
}

func dirAt(path string) place { return place{url: "file://" + path} }

// job is one repository with one source, used as a user would: keys, configuration, commands.
type job struct {
	w        *world
	dir      string
	vault    place // with the writer's credentials
	reader   place // the same, with a reader's
	env      []string
	identity string
}

// lockedVault makes a locked bucket with a writer and a reader who may do just what they must.
func (w *world) lockedVault(ctx context.Context, k servers.Kind) (vault, reader place, err error) {
	s, err := w.server(ctx, k)
	if err != nil {
		return vault, reader, err
	}
	bucket, err := s.MakeBucket(ctx, servers.BucketOptions{Lock: true})
	if err != nil {
		return vault, reader, err
	}
	write, err := s.MakeUser(ctx, servers.WriterPolicy(bucket))
	if err != nil {
		return vault, reader, err
	}
	read, err := s.MakeUser(ctx, servers.ReaderPolicy(bucket))
	return bucketAt(s, bucket, "prod", write), bucketAt(s, bucket, "prod", read), err
}

// newJob makes keys and a configuration and runs init.
func newJob(ctx context.Context, w *world, source, vault, reader place, keyFlags ...string) (*job, error) {
	j := &job{w: w, dir: w.path("job"), vault: vault, reader: reader}
	for _, d := range []string{"", "home", "nowhere"} {
		if err := os.MkdirAll(filepath.Join(j.dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	j.identity = filepath.Join(j.dir, "restore.key")
	j.env = append(environment(), "HOME="+filepath.Join(j.dir, "home"))
	j.env = append(j.env, credentials("VAULT", vault.creds)...)
	j.env = append(j.env, credentials("SOURCE", source.creds)...)
	out, _, err := execute(ctx, j.dir, j.env, w.holdfast, append([]string{"keygen", "--out", j.identity}, keyFlags...)...)
	if err != nil {
		return nil, err
	}
	recipient := regexp.MustCompile(`age1[a-z0-9]+`).Find(out)
	if recipient == nil {
		return nil, fmt.Errorf("keygen printed no recipient: %s", tail(out))
	}
	err = configuration{
		vault: "offsite", at: vault, recipient: string(recipient), name: "tree", source: source, retention: "{daily: 35d, weekly: 12w, monthly: 12mo, yearly: 0}",
	}.write(j.dir)
	if err != nil {
		return nil, err
	}
	_, _, err = execute(ctx, j.dir, j.env, w.holdfast, "init")
	return j, err
}

// configuration is of one vault and one source, with a host key and a cache beside it.
type configuration struct {
	vault     string // its name
	at        place
	recipient string
	name      string // the source's
	source    place
	retention string
}

func (c configuration) write(dir string) error {
	lock := "    lock: {mode: compliance, slack: 10d, ceiling: 400d}\n"
	if strings.HasPrefix(c.at.url, "file:") {
		lock = ""
	}
	text := fmt.Sprintf(`vaults:
  - name: %s
    url: %q
%s%skeys:
  recipients: [%s]
  host: host.key
sources:
  - name: %s
    url: %q
%sretention: %s
cache: %q
`, c.vault, c.at.url, credentialLine(c.at, "VAULT"), lock, c.recipient, c.name, c.source.url, credentialLine(c.source, "SOURCE"), c.retention, filepath.Join(dir, "cache"))
	return os.WriteFile(filepath.Join(dir, "holdfast.yaml"), []byte(text), 0o600)
}

func credentialLine(p place, name string) string {
	if p.creds.AccessKeyID == "" {
		return ""
	}
	return "    credentials: env:BARS_" + name + "\n"
}

func credentials(name string, c store.Credentials) []string {
	if c.AccessKeyID == "" {
		return nil
	}
	return []string{"BARS_" + name + "_ACCESS_KEY_ID=" + c.AccessKeyID, "BARS_" + name + "_SECRET_ACCESS_KEY=" + c.SecretAccessKey}
}

// environment is ours without what could reach into what is measured.
func environment() []string {
	var out []string
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		switch {
		case k == "HOME", k == "GODEBUG", k == "GOGC", k == "GOMEMLIMIT", k == "GOMAXPROCS",
			strings.HasPrefix(k, "XDG_"), strings.HasPrefix(k, "AWS_"), strings.HasPrefix(k, "RCLONE_"), strings.HasPrefix(k, "HOLDFAST_"):
		default:
			out = append(out, kv)
		}
	}
	return out
}

// made is what `run --json` prints of a source in a vault.
type made struct {
	cost
	Point         string  `json:"point"`
	Status        string  `json:"status"`
	Entries       int64   `json:"entries"`
	Added         int64   `json:"added"`
	Changed       int64   `json:"changed"`
	Deleted       int64   `json:"deleted"`
	BytesRead     int64   `json:"bytes_read"`
	BytesStored   int64   `json:"bytes_stored"`
	ObjectsStored int64   `json:"objects_stored"`
	RetainUntil   string  `json:"retain_until"`
	Seconds       float64 `json:"seconds"`
}

// run makes a point and prints what it cost.
func (j *job) run(ctx context.Context, label string) (made, error) {
	out, c, err := execute(ctx, j.dir, j.env, j.w.holdfast, "--json", "run")
	m := made{cost: c}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &m); err != nil {
		return m, fmt.Errorf("what run printed cannot be read: %w: %s", err, tail(out))
	}
	fmt.Printf("%-32s %s; %d entries (+%d ~%d -%d), read %d B, stored %d B in %d objects\n",
		label, c, m.Entries, m.Added, m.Changed, m.Deleted, m.BytesRead, m.BytesStored, m.ObjectsStored)
	if m.Status != "complete" || m.Point == "" {
		return m, fmt.Errorf("%s: status %q, point %q", label, m.Status, m.Point)
	}
	return m, nil
}

// restoreLine is how a point is restored with nothing but a restore key and the vault's reader: no configuration, no
// cache, no host key. It is run in the folder nowhere.
func (j *job) restoreLine(point string, to place, more ...string) (args, env []string) {
	args = append([]string{"--json", "restore", point, "--vault", j.reader.url, "--identity", j.identity, "--to", to.url}, more...)
	env = append(environment(), "HOME="+filepath.Join(j.dir, "nowhere"))
	if j.reader.creds.AccessKeyID != "" {
		args = append(args, "--credentials", "env:BARS_READER")
		env = append(env, credentials("READER", j.reader.creds)...)
	}
	if to.creds.AccessKeyID != "" {
		args = append(args, "--to-credentials", "env:BARS_TARGET")
		env = append(env, credentials("TARGET", to.creds)...)
	}
	return args, env
}

// restored is what `restore --json` prints.
type restored struct {
	cost
	Entries, Bytes, Skipped, Failed int64
}

// restoreAs restores with flags of one's own.
func (j *job) restoreAs(ctx context.Context, label, point string, to place, more ...string) (r restored, err error) {
	args, env := j.restoreLine(point, to, more...)
	out, c, err := execute(ctx, filepath.Join(j.dir, "nowhere"), env, j.w.holdfast, args...)
	if err != nil {
		return restored{cost: c}, err
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		return r, fmt.Errorf("what restore printed cannot be read: %w: %s", err, tail(out))
	}
	r.cost = c
	fmt.Printf("%-32s %s; %d entries, %d B, %d skipped, %d failed\n", label, c, r.Entries, r.Bytes, r.Skipped, r.Failed)
	return r, nil
}

// restore brings a whole point back, and nothing else.
func (j *job) restore(ctx context.Context, label, point string, to place) (cost, error) {
	empty := filepath.Join(j.dir, "nowhere")
	r, err := j.restoreAs(ctx, label, point, to)
	c := r.cost
	if err != nil {
		return c, err
	}
	if r.Failed != 0 || r.Skipped != 0 {
		return c, errors.New(label + ": entries were skipped or failed")
	}
	left, err := os.ReadDir(empty)
	if err == nil && len(left) != 0 {
		err = fmt.Errorf("%s left %s in the home folder", label, left[0].Name())
	}
	return c, err
}

// inMemory holds every run and restore to the bar.
func (w *world) inMemory(costs ...cost) {
	var most int64
	for _, c := range costs {
		most = max(most, c.peak)
	}
	note := ""
	if own := ownPeak(); own >= most {
		note = fmt.Sprintf(" (not above; this program itself had %d MiB)", own>>20)
	}
	w.bar(most < memoryBar, "peak memory of %d runs and restores %d MiB%s, bar %d MiB", len(costs), most>>20, note, memoryBar>>20)
}
