package guard

// Settings are those of a bucket that decide whether what is in it stays.
type Settings struct {
	Versioning string   `json:"versioning,omitempty"` // "", Enabled or Suspended
	Expires    []string `json:"expires,omitempty"`    // rules that delete all of it, as text
}
