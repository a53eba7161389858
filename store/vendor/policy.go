package vendor

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
)

// Role is what a credential is for. Each is a credential of its own.
type Role string

// The roles.
const (
	SourceReader Role = "source-reader" // reads what is protected, at the primary
	VaultWriter  Role = "vault-writer"  // the job's: puts, reads, lengthens locks
	VaultReader  Role = "vault-reader"  // restores and checks
	Auditor      Role = "auditor"       // checks, and leaves records of it: puts under reports/ alone
	Renewer      Role = "renewer"       // lengthens locks from another machine
	Remover      Role = "remover"       // prune: deletes versions whose lock is over
)

// Roles lists them.
func Roles() []Role { return []Role{SourceReader, VaultWriter, VaultReader, Auditor, Renewer, Remover} }

// Locks reports whether a role sets locks, or lengthens them.
func (r Role) Locks() bool {
	has := rightsOf(r)
	return slices.Contains(slices.Concat(has.objects, has.reports), lock)
}

// PolicyOptions of Policy.
type PolicyOptions struct {
	Bucket    string
	Prefix    string // of the vault or source in the bucket; empty: all of it
	Principal string // FormBucket: the user's name there
	MaxDays   int    // the longest lock, in days from now, that the credential may set, where the vendor can bound it; 0: no bound
	Partition string // of AWS's ARNs; default aws
	Kind      Kind   // of the source, for SourceReader at AWS; default KindBucket. The others need no bucket
}

// Kind is what a source is.
type Kind string

// The kinds.
const (
	KindBucket   Kind = "s3"
	KindDisks    Kind = "ebs"
	KindMachines Kind = "ec2"
)

// describes are the calls of the EC2 API that the source drivers make. They know no resources: all or none.
func describes(k Kind) []string {
	if k == KindDisks {
		return []string{"ec2:DescribeSnapshots", "ec2:DescribeVolumes"}
	}
	var out []string
	for _, what := range []string{
		"Addresses", "DhcpOptions", "ImageAttribute", "Images", "InstanceAttribute", "Instances", "InternetGateways", "KeyPairs", "LaunchTemplateVersions",
		"LaunchTemplates", "NatGateways", "NetworkAcls", "NetworkInterfaces", "Regions", "RouteTables", "SecurityGroupRules", "SecurityGroups", "Snapshots", "Subnets",
		"Volumes", "VpcAttribute", "Vpcs",
	} {
		out = append(out, "ec2:Describe"+what)
	}
	for _, what := range []string{"AutoScalingGroups", "LaunchConfigurations", "Policies"} {
		out = append(out, "autoscaling:Describe"+what)
	}
	for _, what := range []string{"Listeners", "LoadBalancerAttributes", "LoadBalancers", "Rules", "Tags", "TargetGroupAttributes", "TargetGroups"} {
		out = append(out, "elasticloadbalancing:Describe"+what)
	}
	return out
}

// blocks are the calls of the EBS direct APIs: for disks, and for the snapshots that AMIs are made of.
func blocks(k Kind) []string {
	if k == KindDisks {
		return []string{"ebs:GetSnapshotBlock", "ebs:ListChangedBlocks", "ebs:ListSnapshotBlocks"}
	}
	return []string{"ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"}
}

// disks is the policy of a source that is no bucket.
func disks(p Profile, o PolicyOptions) (Document, error) {
	if p.Name != "aws" {
		return Document{}, fmt.Errorf("%w: %s has no disks or machines that Holdfast reads; that is AWS", ErrPolicy, p.Title)
	}
	list := []statement{{Sid: "Look", Effect: "Allow", Action: describes(o.Kind), Resource: []string{"*"}}}
	d := Document{Notes: []string{"made from the calls that Holdfast makes; not tried at AWS"}}
	list = append(list, statement{
		Sid: "Blocks", Effect: "Allow", Action: blocks(o.Kind), Resource: []string{"arn:" + o.Partition + ":ec2:*::snapshot/*"},
	})
	d.Notes = append(d.Notes, "encrypted snapshots need kms:Decrypt on their key as well")
	if o.Kind == KindDisks {
		d.Notes = append(d.Notes, "a source with create= needs ec2:CreateSnapshots and ec2:CreateTags as well")
	}
	return finish(d, list)
}

// finish writes the document.
func finish(d Document, list []statement) (Document, error) {
	text, err := json.MarshalIndent(struct {
		Version   string      `json:"Version"`
		Statement []statement `json:"Statement"`
	}{"2012-10-17", list}, "", "  ")
	d.Text = string(text)
	return d, err
}

// Document is a policy, ready to be applied.
type Document struct {
	Text  string   // JSON, indented
	Notes []string // what the user must know of it, a line each
}

// statement is one of an IAM-style policy. Its fields stand in the order in which AWS writes them.
type statement struct {
	Sid       string                    `json:"Sid"`
	Effect    string                    `json:"Effect"`
	Principal map[string][]string       `json:"Principal,omitempty"`
	Action    []string                  `json:"Action"`
	Resource  []string                  `json:"Resource"`
	Condition map[string]map[string]any `json:"Condition,omitempty"`
}

// rights of a role: what it may do to the bucket, to objects in it, and beside to those under reports/. Listing stands apart, as it
// can be bound to a prefix.
type rights struct{ list, bucket, objects, reports []string }

// The rights that storing takes. An object is put with its lock, for which most vendors want both.
const (
	put  = "s3:PutObject"
	lock = "s3:PutObjectRetention"
)

func rightsOf(r Role) rights {
	list := []string{"s3:ListBucket", "s3:ListBucketVersions"}
	look := []string{"s3:GetBucketLocation", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning"}
	read := []string{"s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectVersion"}
	switch r {
	case SourceReader:
		return rights{list, []string{"s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:GetLifecycleConfiguration"},
			[]string{"s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectVersion", "s3:GetObjectVersionTagging"}, nil}
	case VaultWriter:
		return rights{list, look, append(read, "s3:GetObjectLegalHold", put, lock), nil}
	case VaultReader:
		return rights{list, []string{"s3:GetBucketLocation"}, read, nil}
	case Auditor:
		return rights{list, look, append(read, "s3:GetObjectLegalHold"), []string{put, lock}}
	case Renewer:
		return rights{list, look, append(read, "s3:GetObjectLegalHold", lock), nil}
	case Remover:
		return rights{list, look, append(read, "s3:DeleteObjectVersion", "s3:GetObjectLegalHold"), nil}
	}
	return rights{}
}

var (
	bucketForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{2,62}$`) })
	principalForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]{1,256}$`) })
	arnForm       = regexp.MustCompile(`^arn:aws:iam::[A-Za-z0-9_-]*:(user/[^:]+|root)$`)
	partitionForm = regexp.MustCompile(`^aws[a-z-]*$`)
)

// ErrPolicy: the options do not make a policy.
var ErrPolicy = errors.New("policy")

// PolicyFor gives the policy of a role at a vendor.
func PolicyFor(p Profile, r Role, o PolicyOptions) (Document, error) {
	if !slices.Contains(Roles(), r) {
		return Document{}, fmt.Errorf("%w: no role %q; there are %s", ErrPolicy, r, joinRoles())
	}
	if o.Partition == "" {
		o.Partition = "aws"
	}
	if o.MaxDays < 0 || !partitionForm.MatchString(o.Partition) {
		return Document{}, fmt.Errorf("%w: a lock of %d days, partition %q; there are aws, aws-cn, aws-us-gov", ErrPolicy, o.MaxDays, o.Partition)
	}
	switch o.Kind {
	case "", KindBucket:
	case KindDisks, KindMachines:
		if r != SourceReader {
			return Document{}, fmt.Errorf("%w: kind %s is for the role %s", ErrPolicy, o.Kind, SourceReader)
		}
		return disks(p, o)
	default:
		return Document{}, fmt.Errorf("%w: no kind %q; there are %s, %s, %s", ErrPolicy, o.Kind, KindBucket, KindDisks, KindMachines)
	}
	if !bucketForm().MatchString(o.Bucket) {
		return Document{}, fmt.Errorf("%w: bucket %q; want its name alone, 3 to 63 letters, digits, . and -", ErrPolicy, o.Bucket)
	}
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Prefix != "" && store.CheckName(o.Prefix) != nil || strings.ContainsAny(o.Prefix, "*?$") {
		return Document{}, fmt.Errorf("%w: prefix %q; want plain letters, digits, - _ . and /", ErrPolicy, o.Prefix)
	}
	if p.Policy.Form == FormKey {
		return capabilities(p, r, o)
	}
	if err := checkPrincipal(p, o.Principal); err != nil {
		return Document{}, err
	}
	return statements(p, r, o)
}

// checkPrincipal refuses a name that a bucket's policy would take and that names nobody: a policy with it gives no right and,
// worse, denies none.
func checkPrincipal(p Profile, name string) error {
	switch {
	case p.Policy.Form != FormBucket:
		return nil
	case !principalForm().MatchString(name):
		return fmt.Errorf("%w: at %s a policy belongs to the bucket and names the user: which one? (--principal %s)", ErrPolicy, p.Title, p.Policy.Principal)
	case strings.HasPrefix(p.Policy.Principal, "arn:") && !arnForm.MatchString(name):
		return fmt.Errorf("%w: --principal %s: %s knows users by their ARN: %s (a user without a tenant: arn:aws:iam:::user/NAME). A policy for a plain name is for nobody", ErrPolicy, name, p.Title, p.Policy.Principal)
	}
	return nil
}

func joinRoles() string {
	var out []string
	for _, r := range Roles() {
		out = append(out, string(r))
	}
	return strings.Join(out, ", ")
}

// statements makes an IAM-style policy: what is not allowed is denied.
func statements(p Profile, r Role, o PolicyOptions) (Document, error) {
	var d Document
	bucket := "arn:" + o.Partition + ":s3:::" + o.Bucket
	objects := bucket + "/*"
	if o.Prefix != "" {
		objects = bucket + "/" + o.Prefix + "/*"
	}
	has := rightsOf(r)
	if r == Remover && (p.Rights.DeleteToo.Value || !p.Rights.DeleteToo.Known()) {
		has.objects = append(has.objects, "s3:DeleteObject")
		if p.Rights.DeleteToo.Known() {
			d.Notes = append(d.Notes, "at "+p.Title+" deleting a version needs s3:DeleteObject as well")
		} else {
			d.Notes = append(d.Notes, "whether "+p.Title+" needs s3:DeleteObject for deleting versions is not verified; try without")
		}
	}
	list := statement{Sid: "List", Effect: "Allow", Action: has.list, Resource: []string{bucket}}
	if o.Prefix != "" && p.Policy.Prefixes.Value && p.Policy.Prefixes.Known() {
		list.Condition = map[string]map[string]any{"StringLike": {"s3:prefix": []string{o.Prefix + "/*"}}}
	} else if o.Prefix != "" {
		d.Notes = append(d.Notes, "names of objects outside the prefix can be listed: whether "+p.Title+" can bound a listing by prefix is not verified")
	}
	out := []statement{
		list,
		{Sid: "Look", Effect: "Allow", Action: has.bucket, Resource: []string{bucket}},
	}
	out = append(out, p.shaped(statement{Sid: "Objects", Effect: "Allow", Action: has.objects, Resource: []string{objects}}, strings.TrimSuffix(objects, "*"))...)
	out = append(out, p.records(has, strings.TrimSuffix(objects, "*"))...)
	if r.Locks() && o.MaxDays > 0 {
		deny, note := bound(p, objects, has, o.MaxDays)
		if deny != nil {
			out = append(out, *deny)
		}
		if note != "" {
			d.Notes = append(d.Notes, note)
		}
	}
	if p.Owns() {
		deny := slices.DeleteFunc(DenyByName(), func(a string) bool { return slices.Contains(has.objects, a) })
		out = append(out, statement{Sid: "NotAsOwner", Effect: "Deny", Action: deny, Resource: []string{objects}})
		d.Notes = append(d.Notes, "at "+p.Title+" a user owns what he puts, and may do with it what no policy denies him by name: the statement NotAsOwner does. "+
			"Taking this policy away gives him those rights; to take a key's rights away, remove the key")
		d.Notes = append(d.Notes, "make the bucket with another user than this: who owns a bucket may change its policy")
	}
	if p.Policy.Form == FormBucket {
		for i := range out {
			out[i].Principal = map[string][]string{"AWS": {o.Principal}}
		}
		d.Notes = append(d.Notes, "a bucket has one policy: if it has one already, add these statements to it")
	}
	return finish(d, out)
}

// bound is the statement that keeps a credential from locking for a century, where the vendor has the words.
func bound(p Profile, objects string, has rights, days int) (*statement, string) {
	if p.Lock.Cap.Value == CapNone {
		if p.Lock.Cap.Known() {
			return nil, p.Title + " cannot bound how long a lock may be: whoever has this credential can lock objects for a century, at your cost"
		}
		return nil, "whether " + p.Title + " can bound how long a lock may be is not verified; none is set: whoever has this credential may be able to lock objects for a century, at your cost"
	}
	s := &statement{
		Sid: "NoLongerLocks", Effect: "Deny", Action: []string{lock}, Resource: []string{objects},
		Condition: map[string]map[string]any{"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": fmt.Sprint(days)}},
	}
	puts := slices.Contains(slices.Concat(has.objects, has.reports), put)
	if p.Lock.Cap.Value == CapExtend {
		if puts {
			return s, p.Title + " bounds the lengthening of a lock, and not the lock that a new object is put with: whoever has this credential can put objects of his own that are locked for a century, at your cost"
		}
		return s, ""
	}
	if puts {
		s.Action = []string{put, lock}
	}
	return s, ""
}

// capabilities makes what an application key is made from.
func capabilities(p Profile, r Role, o PolicyOptions) (Document, error) {
	key := struct {
		KeyName      string   `json:"keyName"`
		Capabilities []string `json:"capabilities"`
		BucketName   string   `json:"bucketName"`
		NamePrefix   string   `json:"namePrefix,omitempty"`
	}{KeyName: "holdfast-" + string(r), Capabilities: p.Policy.Capabilities[r], BucketName: o.Bucket}
	if o.Prefix != "" {
		key.NamePrefix = o.Prefix + "/"
	}
	text, err := json.MarshalIndent(key, "", "  ")
	d := Document{Text: string(text)}
	create := "make it with: b2 key create --bucket " + o.Bucket
	if key.NamePrefix != "" {
		create += " --name-prefix " + key.NamePrefix
	}
	d.Notes = append(d.Notes, create+" "+key.KeyName+" "+strings.Join(key.Capabilities, ","))
	if o.MaxDays > 0 && slices.Contains(key.Capabilities, "writeFileRetentions") {
		_, note := bound(p, "", rights{}, o.MaxDays)
		d.Notes = append(d.Notes, note)
	}
	if r == Auditor {
		d.Notes = append(d.Notes, "at "+p.Title+" a key that may put objects may put them anywhere under its prefix. What an auditor puts outside reports/ counts for nothing, and takes room until its lock ends")
	}
	if p.Rights.HideByPut.Value && slices.Contains(key.Capabilities, "writeFiles") {
		d.Notes = append(d.Notes, "whoever may write can also hide a file by its name; the version stays, and Holdfast finds it")
	}
	return d, err
}

// Right is the vendor's word for a right such as "s3:DeleteObject".
func (p Profile) Right(action string) string {
	if n := p.Policy.Names[action]; n != "" {
		return "the capability " + n
	}
	return action
}
