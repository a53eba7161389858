package s3source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
)

// usedKeys counts with which keys of the vendor's key management objects are encrypted. Safe for concurrent use.
type usedKeys struct {
	mu sync.Mutex
	by map[string]int64
}

// maxUsedKeys bounds what is remembered.
const maxUsedKeys = 64

func (k *usedKeys) saw(key *string) {
	if key == nil || *key == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = map[string]int64{}
	}
	if _, ok := k.by[*key]; ok || len(k.by) < maxUsedKeys {
		k.by[*key]++
	}
}

// counts gives what was seen so far.
func (k *usedKeys) counts() map[string]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.by)
}

// settingsWait is how long a server is waited for that says nothing of its settings.
const settingsWait = 30 * time.Second

// settingsAsked is how many requests Settings makes.
const settingsAsked = 2

// Settings implements source.Lasting, with two requests.
func (v *view) Settings(ctx context.Context) (out source.Settings, err error) {
	out.Keys = v.keys.counts()
	ctx, cancel := context.WithTimeout(ctx, settingsWait)
	defer cancel()
	ver, err := v.s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &v.s.o.Bucket})
	switch {
	case denied(err):
		out.Denied = append(out.Denied, "s3:GetBucketVersioning")
	case err != nil && !unsaid(err):
		return out, fmt.Errorf("%s: ask for versioning: %w", v.s.name, err)
	case err == nil:
		out.Versioning = string(ver.Status)
	}
	life, err := v.s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &v.s.o.Bucket})
	switch {
	case denied(err):
		out.Denied = append(out.Denied, "s3:GetLifecycleConfiguration")
	case err != nil && !unsaid(err):
		return out, fmt.Errorf("%s: ask for lifecycle rules: %w", v.s.name, err)
	case err == nil:
		for i := range life.Rules {
			if text := empties(&life.Rules[i], v.s.o.Prefix); text != "" {
				out.Expires = append(out.Expires, text)
			}
		}
	}
	slices.Sort(out.Expires)
	return out, nil
}

// denied reports whether these credentials may not ask.
func denied(err error) bool { return err != nil && errors.Is(awsclient.Kind(err), store.ErrDenied) }

// unsaid reports whether the server answered that it has no such thing, or knows no such question: many know less than AWS.
func unsaid(err error) bool {
	_, ok := errors.AsType[smithy.APIError](err)
	return ok
}

// empties says of a lifecycle rule that it will delete all below a prefix, and when; empty where it will not.
func empties(r *types.LifecycleRule, all string) string {
	if r.Status != types.ExpirationStatusEnabled || r.Expiration == nil || r.Expiration.Days == nil && r.Expiration.Date == nil {
		return ""
	}
	//lint:ignore SA1019 old rules have it there
	prefix := str(r.Prefix) //nolint:staticcheck // the same
	if f := r.Filter; f != nil {
		if f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil {
			return ""
		}
		prefix = str(f.Prefix)
		if a := f.And; a != nil {
			if len(a.Tags) > 0 || a.ObjectSizeGreaterThan != nil || a.ObjectSizeLessThan != nil {
				return ""
			}
			prefix = str(a.Prefix)
		}
	}
	if !strings.HasPrefix(all, prefix) {
		return ""
	}
	when := fmt.Sprintf("%d days after it was written", deref32(r.Expiration.Days))
	if r.Expiration.Date != nil {
		when = "on " + r.Expiration.Date.UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("rule %q deletes all below %q %s", str(r.ID), prefix, when)
}

func deref32(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}
