package guard

import (
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// content is what was seen of what was read.
type content struct {
	touched examples // tripwires
	turned  examples // what was text, or the like, and looks like chance now
	locked  examples // what could be read and now needs a key of somebody else's
	entries int64    // that had content before, and were read again with other bytes
	deltas  map[int64]int64
	again   int64 // of these: noise before and after, all of it new, and not what its owner encrypts
	seen    map[string]*kind

	made sample[made] // by key
	sums sample[bool] // by content, of what is new
	num  numbers
}

// made is a new entry.
type made struct {
	size    int64
	sum     uint64
	noise   bool // it looks like chance, and neither begins as its name says nor as what a packer makes
	fitting bool // it begins as its name says
	packed  bool // it begins as what a packer makes
	ext     string
	told    bool
	folder  uint64
}

// kind is what is known of an extension: of how many entries, how many of these are noise in part, and how many do not
// begin as the extension says.
type kind struct {
	Entries int64 `json:"n"`
	Noisy   int64 `json:"noisy,omitempty"`
	Broken  int64 `json:"broken,omitempty"`
}

const (
	noisyShare = 0.25 // of an entry, from which on it is noise in part
	maxKinds   = 512
	maxDeltas  = 256
)

func (c *content) begin(num numbers) {
	c.num = num
	c.deltas, c.seen = map[int64]int64{}, map[string]*kind{}
}

// plain reports whether an extension is known for content that is not noise.
func (k *kind) plain() bool { return k != nil && k.Entries >= 20 && k.Noisy*50 <= k.Entries }

// noise reports whether an extension is known for content of which a good part is noise. What such an entry was compressed to says
// little: small ones were compressed together with their neighbours.
func (k *kind) noise() bool { return k != nil && k.Entries >= 5 && k.Noisy*5 >= k.Entries }

// whole reports whether entries of an extension are known to begin as it says.
func (k *kind) whole() bool { return k != nil && k.Entries >= 20 && k.Broken*50 <= k.Entries }

// Unreadable is why entries are missing that were encrypted with keys of somebody else's, as sources say it.
var unreadable = []string{"SSE-C", "KMS key", "kms:"}

func (c *content) read(s *state, old, e *format.Entry, b *Bytes) {
	if e.Missing != "" {
		if old != nil && old.Missing == "" && old.Size > 0 {
			for _, why := range unreadable {
				if strings.Contains(e.Missing, why) {
					c.locked.add(e.Key)
					return
				}
			}
		}
		return
	}
	if b == nil {
		return
	}
	ext := extension(e.Key)
	was := s.Kinds[ext]
	form, noise := b.form(ext), b.noise()
	now := c.kind(ext)
	if now != nil && b.told() {
		now.Entries++
		if noise >= noisyShare {
			now.Noisy++
		}
		if form == broken {
			now.Broken++
		}
	}
	if old == nil || old.Missing != "" || old.Size == 0 {
		c.create(e, b, ext)
		return
	}
	if old.SHA256 == e.SHA256 {
		return
	}
	c.entries++
	c.change(old, e, b, was, ext)
}

func (c *content) kind(ext string) *kind {
	k := c.seen[ext]
	if k == nil && len(c.seen) < maxKinds {
		k = &kind{}
		c.seen[strings.Clone(ext)] = k
	}
	return k
}

func (c *content) create(e *format.Entry, b *Bytes, ext string) {
	n := c.num
	m := made{
		size: e.Size, ext: strings.Clone(ext), told: b.told(), packed: b.packed(), fitting: b.form(ext) == fits, sum: n.content(e.SHA256), folder: n.key(folder(e.Key)),
	}
	m.noise = m.told && b.noise() >= noisyShare && !m.packed && !m.fitting
	c.made.put(n.key(e.Key), m)
	if e.Size > 0 {
		c.sums.put(m.sum, true)
	}
}

// change judges an entry whose content is another than before.
func (c *content) change(old, e *format.Entry, b *Bytes, was *kind, ext string) {
	noise, form := b.noise(), b.form(ext)
	if !b.told() || b.fresh*2 < b.size && noise < noisyShare {
		return
	}
	ratio, known := ratioOf(old)
	packed := b.packed() && form != fits && (!known || float64(e.Size) < 0.9*float64(old.Size)) // and it became less
	switch {
	case packed: // somebody compressed it under its name
	case was.plain() && noise >= noisyShare,
		known && form != fits && !sealed(ext) && !was.noise() && noise >= noisyShare && noise >= ratio+0.3,
		form == broken && was.whole() && noise >= noisyShare:
		c.turned.add(e.Key)
		return
	}
	if noise >= 0.8 && b.fresh*10 >= b.size*9 && !packed && !(sealed(ext) && form != broken) {
		c.again++
		d := e.Size - old.Size
		if _, ok := c.deltas[d]; ok || len(c.deltas) < maxDeltas {
			c.deltas[d]++
		}
	}
}

// ratioOf is to what share of it the earlier content was compressed: of small entries, with their neighbours.
func ratioOf(old *format.Entry) (ratio float64, known bool) {
	var plain, stored float64
	for i := range old.Chunks {
		ch := &old.Chunks[i]
		if !ch.Hole && ch.Frame.Plain > 0 {
			plain += float64(ch.Size)
			stored += float64(ch.Size) * float64(ch.Frame.Length) / float64(ch.Frame.Plain)
		}
	}
	if plain == 0 {
		return 0, false
	}
	return stored / plain, true
}
