package attacker

import (
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is what S3 calls it
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
)

// lockHeaders are those of a PUT.
func lockHeaders(lock store.Retention) map[string]string {
	return map[string]string{
		"X-Amz-Object-Lock-Mode":              strings.ToUpper(string(lock.Mode)),
		"X-Amz-Object-Lock-Retain-Until-Date": lock.Until.UTC().Format(time.RFC3339),
	}
}

// newCanary sends a request about a canary, and only about one.
func newCanary(ctx context.Context, a *Attacker, r request) attack.Answer {
	if err := attack.CheckName(r.name); err != nil {
		return r.fail(err)
	}
	return sendAs(ctx, a, r)
}

// Put implements attack.Canaries.
func (a *Attacker) Put(ctx context.Context, name string, body []byte, o attack.PutOptions) attack.Answer {
	r := request{method: http.MethodPut, name: name, header: lockHeaders(o.Lock), body: body, say: "with a lock", anonymous: o.Anonymous}
	if err := attack.CheckLock(o.Lock, a.now()); err != nil {
		return r.fail(err)
	}
	sum := sha256.Sum256(body)
	if o.WrongChecksum {
		wrong := append([]byte("other bytes: "), body...)
		sum = sha256.Sum256(wrong)
		m := md5.Sum(wrong) //nolint:gosec // see above
		r.header["Content-Md5"] = base64.StdEncoding.EncodeToString(m[:])
		r.say += " and the checksum of other bytes"
	}
	r.header["X-Amz-Checksum-Sha256"] = base64.StdEncoding.EncodeToString(sum[:])
	if o.OnlyIfNew {
		r.header["If-None-Match"] = "*"
		r.say += " if there is none of that name"
	}
	if o.Anonymous {
		r.say += ", unsigned"
	}
	return newCanary(ctx, a, r)
}

// PutInParts implements attack.Canaries: one part.
func (a *Attacker) PutInParts(ctx context.Context, name string, body []byte, lock store.Retention) attack.Answer {
	begin := request{method: http.MethodPost, name: name, query: url.Values{"uploads": {""}}, header: lockHeaders(lock), say: "with a lock", keep: true}
	if err := attack.CheckLock(lock, a.now()); err != nil {
		return begin.fail(err)
	}
	ans := newCanary(ctx, a, begin)
	if !ans.Done() {
		return ans
	}
	var begun struct {
		UploadID string `xml:"UploadId"`
	}
	if err := xml.Unmarshal(ans.Body, &begun); err != nil || begun.UploadID == "" {
		return begin.fail(fmt.Errorf("the answer to the beginning of an upload names none"))
	}
	part := request{method: http.MethodPut, name: name, query: url.Values{"partNumber": {"1"}, "uploadId": {begun.UploadID}}, body: body}
	if ans = newCanary(ctx, a, part); !ans.Done() {
		return ans
	}
	m := md5.Sum(body) //nolint:gosec // what an ETag is made of
	end := request{method: http.MethodPost, name: name, query: url.Values{"uploadId": {begun.UploadID}}, body: completion(fmt.Sprintf("%x", m))}
	return newCanary(ctx, a, end)
}

func completion(etag string) []byte {
	return []byte(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part><PartNumber>1</PartNumber><ETag>"` + etag +
		`"</ETag></Part></CompleteMultipartUpload>`)
}

func get(ref store.Ref) request {
	r := request{method: http.MethodGet, name: ref.Name, keep: true}
	if ref.Version != "" {
		r.query = url.Values{"versionId": {ref.Version}}
	}
	return r
}

// Get implements attack.Canaries.
func (a *Attacker) Get(ctx context.Context, ref store.Ref) attack.Answer {
	return newCanary(ctx, a, get(ref))
}

// GetAnonymously implements attack.Canaries.
func (a *Attacker) GetAnonymously(ctx context.Context, ref store.Ref) attack.Answer {
	r := get(ref)
	r.anonymous, r.say = true, "unsigned"
	return newCanary(ctx, a, r)
}

// Delete implements attack.Canaries.
func (a *Attacker) Delete(ctx context.Context, ref store.Ref, bypass bool) attack.Answer {
	r := request{method: http.MethodDelete, name: ref.Name}
	if ref.Version != "" {
		r.query = url.Values{"versionId": {ref.Version}}
	}
	r.bypass(bypass)
	return newCanary(ctx, a, r)
}

func (r *request) bypass(yes bool) {
	if !yes {
		return
	}
	if r.header == nil {
		r.header = map[string]string{}
	}
	r.header["X-Amz-Bypass-Governance-Retention"] = "true"
	r.say = strings.TrimSpace(r.say + " bypassing governance")
}

// Retain implements attack.Canaries.
func (a *Attacker) Retain(ctx context.Context, ref store.Ref, lock store.Retention, bypass bool) attack.Answer {
	r := retention(ref, retain(lock), "to "+string(lock.Mode)+" until "+lock.Until.UTC().Format(time.RFC3339))
	r.bypass(bypass)
	if err := attack.CheckLock(lock, a.now()); err != nil {
		return r.fail(err)
	}
	return newCanary(ctx, a, r)
}

// Release implements attack.Canaries.
func (a *Attacker) Release(ctx context.Context, ref store.Ref, bypass bool) attack.Answer {
	r := retention(ref, `<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></Retention>`, "to no lock")
	r.bypass(bypass)
	return newCanary(ctx, a, r)
}

func retain(lock store.Retention) string {
	return `<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>` + strings.ToUpper(string(lock.Mode)) + `</Mode><RetainUntilDate>` +
		lock.Until.UTC().Format(time.RFC3339) + `</RetainUntilDate></Retention>`
}

func retention(ref store.Ref, body, say string) request {
	q := url.Values{"retention": {""}}
	if ref.Version != "" {
		q.Set("versionId", ref.Version)
	}
	return request{method: http.MethodPut, name: ref.Name, query: q, body: []byte(body), say: say}
}

// Unhold implements attack.Canaries.
func (a *Attacker) Unhold(ctx context.Context, ref store.Ref) attack.Answer {
	q := url.Values{"legal-hold": {""}}
	if ref.Version != "" {
		q.Set("versionId", ref.Version)
	}
	return newCanary(ctx, a, request{
		method: http.MethodPut, name: ref.Name, query: q, say: "to OFF",
		body: []byte(`<LegalHold xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>OFF</Status></LegalHold>`),
	})
}

// Private implements attack.Canaries. The ACL is a header's, so that there is no owner to name.
func (a *Attacker) Private(ctx context.Context, ref store.Ref) attack.Answer {
	q := url.Values{"acl": {""}}
	if ref.Version != "" {
		q.Set("versionId", ref.Version)
	}
	return newCanary(ctx, a, request{
		method: http.MethodPut, name: ref.Name, query: q, say: "to private, as it is", header: map[string]string{"X-Amz-Acl": "private"},
	})
}
