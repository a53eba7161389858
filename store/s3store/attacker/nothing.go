package attacker

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
)

// Finish implements attack.Nothing. POST, and not the PUT of a part: a server that does not know multipart uploads would
// take that for an object.
func (a *Attacker) Finish(ctx context.Context) attack.Answer {
	return sendAs(ctx, a, finish())
}

// FinishFolder implements attack.Nothing. The folder is that of the points of a source that never was.
func (a *Attacker) FinishFolder(ctx context.Context) attack.Answer {
	r := finish()
	r.name, r.say = "points/"+neverWas(), "(no such upload, named as a folder)"
	return sendAs(ctx, a, r)
}

// FinishAnonymously implements attack.Nothing.
func (a *Attacker) FinishAnonymously(ctx context.Context) attack.Answer {
	r := finish()
	r.anonymous, r.say = true, "(no such upload), unsigned"
	return sendAs(ctx, a, r)
}

func finish() request {
	return request{
		method: http.MethodPost, name: nowhere(), query: url.Values{"uploadId": {neverWas()}},
		body: completion("00000000000000000000000000000000"), say: "(no such upload)",
	}
}

// Remove implements attack.Nothing. The version is "null", which every vendor takes for a version: what looks like
// another vendor's is refused before rights are looked at, by some.
func (a *Attacker) Remove(ctx context.Context) attack.Answer {
	return sendAs(ctx, a, request{method: http.MethodDelete, name: nowhere(), query: url.Values{"versionId": {"null"}}, say: "(no such object)"})
}

// Erase implements attack.Nothing.
func (a *Attacker) Erase(ctx context.Context) attack.Answer { return eraseAs(ctx, a, false) }

// EraseAnonymously implements attack.Nothing.
func (a *Attacker) EraseAnonymously(ctx context.Context) attack.Answer { return eraseAs(ctx, a, true) }

func eraseAs(ctx context.Context, a *Attacker, anonymous bool) attack.Answer {
	r := request{method: http.MethodDelete, name: nowhere() + strings.Repeat("-too-long", tooLong/9+1), anonymous: anonymous}
	ans := sendAs(ctx, a, r)
	ans.Request = r.method + " a name of " + strconv.Itoa(len(a.prefix+r.name)) + " bytes, longer than any can be"
	if anonymous {
		ans.Request += ", unsigned"
	}
	return ans
}

// tooLong is the longest key that S3 has, in bytes.
const tooLong = 1024

// Keep implements attack.Nothing.
func (a *Attacker) Keep(ctx context.Context, lock store.Retention) attack.Answer {
	r := retention(store.Ref{Name: nowhere()}, retain(lock), "to "+string(lock.Mode)+" until "+lock.Until.UTC().Format("2006-01-02")+" (no such object)")
	return sendAs(ctx, a, r)
}

// Look implements attack.Nothing.
func (a *Attacker) Look(ctx context.Context) attack.Answer {
	return sendAs(ctx, a, request{method: http.MethodGet, name: nowhere(), say: "(no such object)"})
}

func (a *Attacker) list(anonymous bool) request {
	q := url.Values{"list-type": {"2"}, "max-keys": {"1"}, "fetch-owner": {"true"}}
	if a.prefix != "" {
		q.Set("prefix", a.prefix)
	}
	r := request{method: http.MethodGet, query: q, keep: true, anonymous: anonymous}
	if anonymous {
		r.say = "unsigned"
	}
	return r
}

// List implements attack.Nothing.
func (a *Attacker) List(ctx context.Context) attack.Answer {
	ans := sendAs(ctx, a, a.list(false))
	var l struct {
		Contents []struct{ Owner struct{ ID string } }
	}
	if ans.Done() && xml.Unmarshal(ans.Body, &l) == nil && len(l.Contents) > 0 {
		ans.Owner = clip(l.Contents[0].Owner.ID)
	}
	return ans
}

// ListAnonymously implements attack.Nothing.
func (a *Attacker) ListAnonymously(ctx context.Context) attack.Answer {
	return sendAs(ctx, a, a.list(true))
}

// Read implements attack.Settings.
func (a *Attacker) Read(ctx context.Context, s attack.Setting) attack.Answer {
	return sendAs(ctx, a, request{method: http.MethodGet, query: url.Values{string(s): {""}}, keep: true})
}

// Rewrite implements attack.Settings. A setting that there is none of is not written: an empty one could be a change.
func (a *Attacker) Rewrite(ctx context.Context, s attack.Setting) (read, write attack.Answer) {
	read = a.Read(ctx, s)
	if !read.Done() || len(read.Body) == 0 {
		return read, attack.Answer{}
	}
	return read, sendAs(ctx, a, request{method: http.MethodPut, query: url.Values{string(s): {""}}, body: read.Body, say: "as it was read a moment before"})
}

// garbage is neither XML nor JSON.
const garbage = "this is no setting\n"

// Garble implements attack.Settings.
func (a *Attacker) Garble(ctx context.Context, s attack.Setting) attack.Answer {
	return sendAs(ctx, a, request{method: http.MethodPut, query: url.Values{string(s): {""}}, body: []byte(garbage), say: "with a body that is no setting"})
}
