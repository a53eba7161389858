package guard

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings are those of a bucket that decide whether what is in it stays.
type Settings struct {
	Versioning string   `json:"versioning,omitempty"` // Enabled, Suspended, or empty
	Expires    []string `json:"expires,omitempty"`    // rules that will delete all of it, each as a sentence
	Denied     []string `json:"denied,omitempty"`     // rights that are missing to know more
}

// Bucket is told how the source's bucket is set, before Judge. It gives the missing rights that were not told before.
func (w *Watch) Bucket(s Settings) (denied []string) {
	w.bucket = &s
	for _, right := range s.Denied {
		if w.state.Bucket == nil || !slices.Contains(w.state.Bucket.Denied, right) {
			denied = append(denied, right)
		}
	}
	return denied
}

// Keys is told with which keys of the vendor's key management the entries are encrypted that were read, before Judge.
func (w *Watch) Keys(used map[string]int64) { w.used = used }

// set compares a bucket's settings with those of the last run.
func (j *judging) set() (out []Finding) {
	is, was := j.bucket, j.state.Bucket
	if is == nil || was == nil || j.o.Forgiven {
		return nil
	}
	lately := j.state.Lately
	if lately == nil {
		lately = &Settings{}
	}
	if was.Versioning == "Enabled" && is.Versioning == "Suspended" {
		out = append(out, Finding{Rule: Bucket, Hard: true, Text: "versioning of the bucket was on, and is suspended", Again: lately.Versioning == is.Versioning})
	}
	if slices.Contains(was.Denied, "s3:GetLifecycleConfiguration") {
		return out // nobody knows what was there
	}
	for _, rule := range is.Expires {
		if !slices.Contains(was.Expires, rule) {
			out = append(out, Finding{Rule: Bucket, Hard: true, Text: "there is a new lifecycle rule that will empty the source: " + rule, Again: slices.Contains(lately.Expires, rule)})
		}
	}
	return out
}

// foreign looks for keys that are not the owner's.
func (j *judging) foreign() (out []Finding) {
	for _, key := range slices.Sorted(maps.Keys(j.used)) {
		n := j.used[key]
		switch {
		case len(j.o.KMSKeys) > 0 && !ours(j.o.KMSKeys, key):
			out = append(out, Finding{Rule: ForeignKeys, Hard: true, Count: n, Text: fmt.Sprintf("%d objects are encrypted with the key %.200q, which is none of guard.kms_keys", n, key)})
		case len(j.o.KMSKeys) == 0 && !j.o.Forgiven && n >= 20 && len(j.state.Runs) > 0 && !slices.Contains(j.state.Keys, key):
			out = append(out, Finding{Rule: ForeignKeys, Count: n, Text: fmt.Sprintf("%d objects are encrypted with the key %.200q, which was not seen before", n, key)})
		}
	}
	return out
}

// ours reports whether a key is one of the owner's: the same text, or an ARN that ends in the ID.
func ours(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(k string) bool {
		return k == key || strings.HasSuffix(key, "/"+k) || strings.HasSuffix(k, "/"+key)
	})
}

// learnBucket takes settings and keys for what they were from now on.
func (w *Watch) learnBucket() {
	if w.bucket != nil {
		w.state.Bucket = w.bucket
	}
	for key := range w.used {
		if len(w.state.Keys) < maxKeys && !slices.Contains(w.state.Keys, key) {
			w.state.Keys = append(w.state.Keys, key)
		}
	}
	slices.Sort(w.state.Keys)
}
