// Package vendor is what is known of the places that can hold a vault, as data: one embedded file a vendor, each fact with
// its source, and the policies that give each role of Holdfast exactly what it needs.
//
// Nothing decides on a profile whether a lock is kept: that is seen (package probe) or it is not known. A profile says how
// a vendor's answers are to be read, which rights it has words for, and what it costs. It does no I/O.
package vendor

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed profiles/*.json
var files embed.FS

// NotVerified is the source of what nobody has looked up or tried.
const NotVerified = "not verified"

// Generic is the profile of a vendor that there is none of.
const Generic = "generic"

// Fact is something known of a vendor, and from where.
type Fact[T any] struct {
	Value  T      `json:"value"`
	Source string `json:"source"` // "https://..", "measured ..", or NotVerified: then Value means nothing
	Note   string `json:"note,omitempty"`
}

// Known reports whether the fact has a source.
func (f Fact[T]) Known() bool { return f.Source != "" && f.Source != NotVerified }

// Profile is what is known of one vendor.
type Profile struct {
	Name        string         `json:"name"`  // as in `holdfast policy --vendor NAME`
	Title       string         `json:"title"` // for people
	Hosts       []string       `json:"hosts"`
	Servers     []string       `json:"servers"`               // beginnings of the Server header
	Requests    string         `json:"request_ids,omitempty"` // how it numbers requests, a pattern, for servers that do not say what they are
	Lock        Lock           `json:"lock"`
	Locked      Fact[[]Locked] `json:"locked"`
	Checksums   Checksums      `json:"checksums"`
	CreateOnly  Fact[bool]     `json:"create_only"`  // If-None-Match: * is honoured
	MinimumDays Fact[int]      `json:"minimum_days"` // an object deleted earlier is billed as long as this
	Rights      Rights         `json:"rights"`
	Policy      Policies       `json:"policy"`
	Quirks      []Quirk        `json:"quirks"`
}

// Lock is what a vendor's object lock does.
type Lock struct {
	Compliance Fact[bool]   `json:"compliance"`
	Governance Fact[bool]   `json:"governance"`
	InParts    Fact[bool]   `json:"in_parts"`    // a multipart upload keeps the lock it was begun with
	NewBuckets Fact[bool]   `json:"new_buckets"` // only a bucket made with object lock has it
	Bypass     Fact[bool]   `json:"bypass"`      // only who has the bypass right can shorten a governance lock
	Cap        Fact[string] `json:"cap"`         // what s3:object-lock-remaining-retention-days bounds: CapNone, CapExtend or CapAll
}

// What a policy can bound of the length of locks.
const (
	CapNone   = "none"   // nothing: who may lock may lock for a century
	CapExtend = "extend" // PutObjectRetention only
	CapAll    = "all"    // PutObjectRetention and locks in the headers of a PUT
)

// Locked is an answer that means: refused because of the lock.
type Locked struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Words  string `json:"words"` // of its message
}

// Checksums is what a vendor does with x-amz-checksum-sha256 and Content-MD5.
type Checksums struct {
	SHA256   Fact[bool] `json:"sha256"`        // x-amz-checksum-sha256 is taken
	Wrong    Fact[bool] `json:"wrong_refused"` // a wrong one is refused
	WithLock Fact[bool] `json:"with_lock"`     // a PUT with a lock must carry one
}

// Rights is how a vendor's answers tell a right that is there from one that is not.
type Rights struct {
	Garbled   Fact[[]string] `json:"garbled"`        // codes, or statuses, with which a body that is no setting is refused to whoever may change the setting
	LongNames Fact[bool]     `json:"long_names"`     // a DELETE of a name longer than any is denied to whoever may not delete
	LockFirst Fact[bool]     `json:"lock_first"`     // PutObjectRetention on nothing is denied, before 404, to whoever may not lock so long
	HideByPut Fact[bool]     `json:"hide_by_put"`    // who may write may hide by name; no right can be taken away for that
	DeleteToo Fact[bool]     `json:"delete_by_name"` // deleting a version needs DeleteObject
	Lacking   Fact[[]string] `json:"lacking"`        // settings that the vendor does not have
	Owner     Fact[bool]     `json:"owner"`          // who puts an object may do with it what no policy denies him by name
	ACLs      Fact[bool]     `json:"acls"`           // objects have ACLs other than private
	Unbegun   Fact[[]string] `json:"unbegun"`        // codes, beside NoSuchUpload, of the completion of an upload that was never begun, to who may put
	LongFirst Fact[[]string] `json:"long_first"`     // codes with which a name longer than any is refused before rights are looked at
}

// Policies is how rights are given.
type Policies struct {
	Form         string            `json:"form"`  // FormIAM, FormBucket or FormKey
	Apply        []string          `json:"apply"` // how, a line each
	Prefixes     Fact[bool]        `json:"prefixes"`
	Shapes       Fact[bool]        `json:"shapes"`                 // names of objects may be patterns with several *
	Principal    string            `json:"principal,omitempty"`    // FormBucket: the form of a user's name, for people; with "arn:" it must be an ARN
	Capabilities map[Role][]string `json:"capabilities,omitempty"` // FormKey only
	Names        map[string]string `json:"names,omitempty"`        // FormKey only: the capability for an action such as s3:DeleteObject
}

// The forms of policies.
const (
	FormIAM    = "iam"    // attached to a user
	FormBucket = "bucket" // attached to the bucket, and naming the user
	FormKey    = "key"    // capabilities of an application key
)

// Quirk is anything else worth knowing.
type Quirk struct {
	Text   string `json:"text"`
	Source string `json:"source"`
}

// Names lists the vendors there are profiles of, sorted.
func Names() []string {
	entries, err := fs.ReadDir(files, "profiles")
	if err != nil {
		return nil // embedded: cannot fail
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".json"))
	}
	return out
}

// ErrUnknown: no profile of that name.
var ErrUnknown = errors.New("no profile of this vendor")

// Get gives the profile of a name.
func Get(name string) (Profile, error) {
	if !slices.Contains(Names(), name) {
		return Profile{}, fmt.Errorf("%w: %q; there are %s", ErrUnknown, name, strings.Join(Names(), ", "))
	}
	text, err := files.ReadFile(path.Join("profiles", name+".json"))
	if err != nil {
		return Profile{}, err
	}
	return decode(name, text)
}

// Answered is what an answer tells of the server that gave it.
type Answered struct {
	Server    string // its Server header
	RequestID string // its x-amz-request-id header
}

// Detect finds the profile of the vendor behind an endpoint: by its host name ("" is AWS), else by what the server calls
// itself, else by how it numbers requests, else Generic. A server can call itself anything: that changes how refusals are
// read, never whether a lock that was broken is reported.
func Detect(host string, a Answered) (Profile, error) {
	if host == "" {
		return Get("aws")
	}
	host, server := strings.ToLower(host), strings.ToLower(a.Server)
	var all []Profile
	for _, name := range Names() {
		p, err := Get(name)
		if err != nil {
			return p, err
		}
		all = append(all, p)
	}
	for _, is := range []func(p Profile) bool{
		func(p Profile) bool {
			return slices.ContainsFunc(p.Hosts, func(h string) bool { return host == h || strings.HasSuffix(host, "."+h) })
		},
		func(p Profile) bool {
			return server != "" && slices.ContainsFunc(p.Servers, func(s string) bool { return strings.HasPrefix(server, s) })
		},
		func(p Profile) bool { return p.numbers(a.RequestID) },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i], nil
		}
	}
	return Get(Generic)
}

// numbers reports whether a request's ID is of the form that the vendor gives.
func (p Profile) numbers(id string) bool {
	if p.Requests == "" {
		return false
	}
	form, err := regexp.Compile(p.Requests)
	return err == nil && form.MatchString(id) // the profile's check has compiled it
}

// decode reads one file strictly.
func decode(name string, text []byte) (Profile, error) {
	var p Profile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("profile %s: %w", name, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("profile %s: more after the end", name)
	}
	if err := p.check(); err != nil {
		return p, fmt.Errorf("profile %s: %w", name, err)
	}
	if p.Name != name {
		return p, fmt.Errorf("profile %s: calls itself %q", name, p.Name)
	}
	return p, nil
}

func (p Profile) check() error {
	sources := map[string]string{
		"lock.compliance": p.Lock.Compliance.Source, "lock.governance": p.Lock.Governance.Source, "lock.in_parts": p.Lock.InParts.Source,
		"lock.new_buckets": p.Lock.NewBuckets.Source, "lock.bypass": p.Lock.Bypass.Source, "lock.cap": p.Lock.Cap.Source,
		"locked": p.Locked.Source, "checksums.sha256": p.Checksums.SHA256.Source, "checksums.wrong_refused": p.Checksums.Wrong.Source,
		"checksums.with_lock": p.Checksums.WithLock.Source, "create_only": p.CreateOnly.Source, "minimum_days": p.MinimumDays.Source,
		"rights.garbled": p.Rights.Garbled.Source, "rights.long_names": p.Rights.LongNames.Source, "rights.lock_first": p.Rights.LockFirst.Source,
		"rights.hide_by_put": p.Rights.HideByPut.Source, "rights.delete_by_name": p.Rights.DeleteToo.Source, "rights.lacking": p.Rights.Lacking.Source,
		"rights.owner": p.Rights.Owner.Source, "rights.acls": p.Rights.ACLs.Source, "rights.unbegun": p.Rights.Unbegun.Source, "rights.long_first": p.Rights.LongFirst.Source, "policy.prefixes": p.Policy.Prefixes.Source,
		"policy.shapes": p.Policy.Shapes.Source,
	}
	for i, q := range p.Quirks {
		sources[fmt.Sprintf("quirks[%d]", i)] = q.Source
		if q.Text == "" {
			return fmt.Errorf("quirks[%d] is empty", i)
		}
	}
	for what, s := range sources {
		if s != NotVerified && !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "measured ") {
			return fmt.Errorf("%s: source %q; want a URL, \"measured ..\" or %q", what, s, NotVerified)
		}
	}
	if _, err := regexp.Compile(p.Requests); err != nil {
		return fmt.Errorf("request_ids: %w", err)
	}
	switch {
	case p.Title == "" || len(p.Policy.Apply) == 0:
		return errors.New("title and policy.apply are needed")
	case !slices.Contains([]string{CapNone, CapExtend, CapAll}, p.Lock.Cap.Value):
		return fmt.Errorf("lock.cap %q", p.Lock.Cap.Value)
	case !slices.Contains([]string{FormIAM, FormBucket, FormKey}, p.Policy.Form):
		return fmt.Errorf("policy.form %q", p.Policy.Form)
	case p.MinimumDays.Value < 0:
		return errors.New("minimum_days below 0")
	case p.Policy.Form == FormKey && len(p.Policy.Capabilities) != len(Roles()):
		return errors.New("policy.capabilities must have every role")
	}
	return nil
}

// MayPut reports whether the answer to the completion of an upload that was never begun says that uploads may be made.
func (p Profile) MayPut(status int, code string) bool {
	return code == "NoSuchUpload" || says(p.Rights.Unbegun, status, code)
}

// Judged reports whether a body that is no setting was refused by who had looked at the rights before, and let them pass.
func (p Profile) Judged(status int, code string) bool { return says(p.Rights.Garbled, status, code) }

// NameFirst reports whether a name that is too long was refused before rights were looked at: then nothing is learnt.
func (p Profile) NameFirst(status int, code string) bool {
	return says(p.Rights.LongFirst, status, code)
}

// says reports whether an answer is among those that are known: by its code, or by its status.
func says(f Fact[[]string], status int, code string) bool {
	return f.Known() && (code != "" && slices.Contains(f.Value, code) || slices.Contains(f.Value, strconv.Itoa(status)))
}

// DenyByName are the actions that a policy must deny by name at a vendor whose users own what they put.
func DenyByName() []string {
	return []string{
		"s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutObjectLegalHold", "s3:PutObjectVersionAcl",
	}
}

// Owns reports whether who puts an object there may do with it whatever no policy denies him by name.
func (p Profile) Owns() bool { return p.Rights.Owner.Known() && p.Rights.Owner.Value }
