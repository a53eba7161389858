package probe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
)

// fake is a vault that keeps every lock and denies every right, but for the faults it is told to have: those that no real
// server can be made to show.
type fake struct{ contents }

// contents is what a fake holds, as its owner and its reader see it.
type contents struct {
	fault  string
	list   []*version
	serial int
}

type version struct {
	info store.Info
	lock store.Retention
	body []byte
}

func (f *contents) has(fault string) bool { return f.fault == fault }

func answer(status int, code string) attack.Answer {
	return attack.Answer{Request: "asked", Status: status, Code: code, RequestID: "R", Time: time.Now().UTC()}
}

var (
	done   = answer(200, "")
	denied = answer(403, "AccessDenied")
	held   = answer(403, "ObjectLocked")
)

func (f *contents) find(ref store.Ref) *version {
	for _, v := range f.list {
		if v.info.Name == ref.Name && (ref.Version == "" || v.info.Version == ref.Version) {
			return v
		}
	}
	return nil
}

func (f *contents) remove(ref store.Ref) {
	f.list = slices.DeleteFunc(f.list, func(v *version) bool { return v.info.Ref == ref })
}

func (f *contents) add(name string, body []byte, lock store.Retention) attack.Answer {
	f.serial++
	if f.has("overwrites destroy") {
		f.list = slices.DeleteFunc(f.list, func(v *version) bool { return v.info.Name == name })
	}
	if f.has("locks are forgotten") {
		lock = store.Retention{}
	}
	if f.has("locks are shortened") {
		lock.Until = lock.Until.Add(-time.Minute)
	}
	v := &version{store.Info{Ref: store.Ref{Name: name, Version: fmt.Sprint(f.serial)}, Size: int64(len(body)), Modified: time.Now()}, lock, body}
	if f.has("timestamps are old") {
		v.info.Modified = v.info.Modified.Add(-24 * time.Hour)
	}
	f.list = slices.Insert(f.list, 0, v)
	a := done
	a.Version = v.info.Version
	return a
}

func (f *fake) Put(_ context.Context, name string, body []byte, o attack.PutOptions) attack.Answer {
	switch {
	case o.Anonymous && !f.has("anybody writes"):
		return denied
	case o.WrongChecksum && !f.has("wrong checksums are taken"):
		return answer(400, "BadDigest")
	case o.OnlyIfNew && f.find(store.Ref{Name: name}) != nil && !f.has("conditions are ignored"):
		return answer(412, "PreconditionFailed")
	case f.has("a lost answer"):
		return attack.Answer{Request: "asked", Err: errors.New("connection reset")}
	}
	return f.add(name, body, o.Lock)
}

func (f *fake) PutInParts(_ context.Context, name string, body []byte, lock store.Retention) attack.Answer {
	if f.has("parts lose locks") {
		lock = store.Retention{}
	}
	return f.add(name, body, lock)
}

func (f *fake) Get(_ context.Context, ref store.Ref) attack.Answer {
	v := f.find(ref)
	if v == nil {
		return answer(404, "NoSuchVersion")
	}
	a := done
	a.Body = bytes.Clone(v.body)
	if f.has("old versions rot") && v != f.find(store.Ref{Name: ref.Name}) {
		a.Body[0] ^= 1
	}
	return a
}

func (f *fake) GetAnonymously(context.Context, store.Ref) attack.Answer { return denied }

func (f *fake) Delete(_ context.Context, ref store.Ref, bypass bool) attack.Answer {
	if ref.Version == "" {
		if !f.has("delete destroys") {
			return denied
		}
		f.list = slices.DeleteFunc(f.list, func(v *version) bool { return v.info.Name == ref.Name })
		return answer(204, "")
	}
	if f.has("deletes are done") || f.has("deletes are done with bypass") && bypass {
		f.remove(ref)
		return answer(204, "")
	}
	if f.has("deletes are done and denied") {
		f.remove(ref)
		return denied
	}
	if f.has("deletes are answered") {
		return answer(204, "")
	}
	return held
}

func (f *fake) Retain(_ context.Context, ref store.Ref, lock store.Retention, bypass bool) attack.Answer {
	v := f.find(ref)
	switch {
	case v == nil:
		return answer(404, "NoSuchVersion")
	case v.lock.Mode == store.Governance && bypass && f.has("governance is void"),
		v.lock.Mode == store.Governance && f.has("governance is nothing"):
	case v.lock.Mode != lock.Mode:
		if !f.has("modes change") {
			return held
		}
	case lock.Until.Before(v.lock.Until):
		if !f.has("locks shorten") {
			return held
		}
	case f.has("locks do not grow"):
		return denied
	case f.has("locks only seem to grow"):
		return done
	}
	v.lock = lock
	return done
}

func (f *fake) Release(_ context.Context, ref store.Ref, _ bool) attack.Answer {
	if f.has("locks come off") {
		f.find(ref).lock = store.Retention{}
		return done
	}
	return answer(400, "MalformedXML")
}

func (f *fake) Private(context.Context, store.Ref) attack.Answer { return denied }

func (f *fake) EraseAnonymously(context.Context) attack.Answer { return denied }

func (f *fake) Unhold(context.Context, store.Ref) attack.Answer { return denied }

func (f *fake) FinishFolder(context.Context) attack.Answer { return denied }

func (f *fake) Finish(context.Context) attack.Answer { return answer(404, "NoSuchUpload") }

func (f *fake) FinishAnonymously(context.Context) attack.Answer { return denied }

func (f *fake) Remove(context.Context) attack.Answer { return denied }

func (f *fake) Erase(context.Context) attack.Answer { return denied }

func (f *fake) Keep(_ context.Context, lock store.Retention) attack.Answer {
	if time.Until(lock.Until) > 24*time.Hour && f.has("centuries are denied") {
		return denied
	}
	return answer(404, "NoSuchKey")
}

func (f *fake) Look(context.Context) attack.Answer            { return answer(404, "NoSuchKey") }
func (f *fake) List(context.Context) attack.Answer            { return done }
func (f *fake) ListAnonymously(context.Context) attack.Answer { return denied }

func (f *fake) Read(context.Context, attack.Setting) attack.Answer { return denied }

func (f *fake) Rewrite(ctx context.Context, s attack.Setting) (read, write attack.Answer) {
	if f.has("settings are written back") {
		return done, done
	}
	return f.Read(ctx, s), attack.Answer{}
}

func (f *fake) Garble(context.Context, attack.Setting) attack.Answer {
	if f.has("settings are written back") || f.has("bodies are read first") {
		return answer(400, "MalformedXML")
	}
	return denied
}

func (f *contents) Inspect(context.Context) (store.Facts, error) {
	return store.Facts{Immutable: true, Versioning: true, ObjectLock: true, Clock: time.Now()}, nil
}

func (f *contents) Stat(_ context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	v := f.find(ref)
	if v == nil {
		return store.Info{}, store.Retention{}, store.ErrNotFound
	}
	return v.info, v.lock, nil
}

func (f *contents) Versions(_ context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return store.Behind(func(yield func(store.Info, error) bool) {
		list := slices.Clone(f.list)
		slices.SortStableFunc(list, func(a, b *version) int { return strings.Compare(a.info.Name, b.info.Name) })
		switch {
		case f.has("a version is not listed"):
			list = list[1:]
		case f.has("a version is listed twice"):
			list = append(list[:1:1], list...)
		case f.has("names are not in order"):
			slices.Reverse(list)
		case f.has("listings break"):
			yield(store.Info{}, store.ErrTransient)
			return
		}
		for _, v := range list {
			if strings.HasPrefix(v.info.Name, prefix) && !yield(v.info, nil) {
				return
			}
		}
	}, after)
}

// TestFaults: what a vault could do wrong that no server here does.
func TestFaults(t *testing.T) {
	const ok, n, w, c = probe.OK, probe.NotTested, probe.Warning, probe.Critical
	type found = map[string]probe.Severity
	for fault, want := range map[string]found{
		"":                             {"lock-taken": ok, "delete-locked": ok, "shorten-lock": ok, "overwrite": ok, "listing": ok, "lock-length": n},
		"locks are forgotten":          {"lock-taken": c, "delete-locked": n, "shorten-lock": n, "overwrite": n},
		"locks are shortened":          {"lock-taken": c, "delete-locked": n},
		"deletes are done":             {"delete-locked": c, "delete-locked-bypass": c, "governance-bypass": w},
		"deletes are done with bypass": {"delete-locked": ok, "delete-locked-bypass": c, "governance-bypass": w},
		"deletes are done and denied":  {"delete-locked": c, "delete-locked-bypass": c, "governance-bypass": w},
		"deletes are answered":         {"delete-locked": ok, "delete-locked-bypass": ok},
		"locks shorten":                {"shorten-lock": c, "governance-bypass": w},
		"modes change":                 {"change-mode": c},
		"locks come off":               {"remove-lock": c},
		"locks do not grow":            {"extend-lock": w},
		"locks only seem to grow":      {"extend-lock": c},
		"governance is void":           {"governance-bypass": w},
		"governance is nothing":        {"governance-bypass": w},
		"overwrites destroy":           {"overwrite": c},
		"old versions rot":             {"overwrite": c},
		"delete destroys":              {"delete-marker": c},
		"parts lose locks":             {"multipart-lock": probe.Info},
		"conditions are ignored":       {"create-only": probe.Info},
		"wrong checksums are taken":    {"checksum": w},
		"anybody writes":               {"public-write": c},
		"timestamps are old":           {"timestamps": w},
		"a version is not listed":      {"listing": c},
		"a version is listed twice":    {"listing": c},
		"names are not in order":       {"listing": c},
		"listings break":               {"listing": n, "timestamps": n},
		"centuries are denied":         {"lock-length": ok},
		"settings are written back":    {"policy-right": c, "lifecycle-right": w, "versioning-right": w, "object-lock-right": w, "encryption-right": w},
		"bodies are read first":        {"policy-right": n, "lifecycle-right": n, "versioning-right": n},
		"a lost answer":                {"lock-taken": n, "delete-locked": n, "overwrite": n, "listing": n, "checksum": ok},
	} {
		t.Run(fault, func(t *testing.T) {
			f := &fake{contents{fault: fault}}
			r, err := probe.Run(t.Context(), probe.Options{Attacker: f, Vault: f, Host: "s3.example.com"})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range r.Findings {
				if s, ok := want[x.Check]; ok && x.Severity != s {
					t.Errorf("%s is %s instead of %s: %s", x.Check, x.Severity, s, x.Seen)
				} else if !ok && x.Severity.Worse(n) {
					t.Errorf("%s is %s: %s", x.Check, x.Severity, x.Seen)
				}
			}
		})
	}
}

// Open is never asked for: content is read through the attacker.
func (f *contents) Open(context.Context, store.Ref, int64, int64) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}
