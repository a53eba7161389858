// Package plan says beforehand what a run or a restore would read, store, lock, ask and cost.
//
// It works from what a dry run counted (package backup) and from what a point needs, by the rules that the pipeline itself follows.
// It does no I/O, reads no content, and never calls a guess a fact: each forecast says what it rests on.
package plan

import (
	"math"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/prices"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// Rules of the pipeline that decide how many objects a run stores; those of packages backup and repo.
const (
	packBytes   = 32 << 20 // of content in a pack
	packChunks  = 32_768
	waitingMax  = 8 << 20 // weight of entries at which packs are closed early
	metaBytes   = 8 << 20 // of pages in a metadata object
	flushBytes  = 1 << 30 // stored bytes after which a run makes known what it has stored
	besideLines = 1024    // index lines that may lie beside pages ..
	besideBytes = 32 << 10
)

// What parts of a run come to where no earlier point tells: measured on objects of 60 kB, and of 2 kB.
const (
	lineBytes  = 120     // of the manifest, an entry
	indexBytes = 75      // a chunk
	fixedBytes = 8 << 10 // the point, its lists, and placements
	sealed     = 1 + 1.0/2048
)

// Basis is what a forecast of stored bytes rests on.
type Basis string

// What there is.
const (
	LastPoint Basis = "last point"                   // new content shrinks as well as that of the last point did
	Filled    Basis = "last point that is not empty" // the last one is empty: what that one held comes back and is stored already, the rest shrinks as it did
	Unknown   Basis = "unknown"                      // nothing is known: as if nothing shrank
)

// Forecast is what a run of one source would do in one vault.
type Forecast struct {
	Reads     int64 // entries whose content is read
	BytesRead int64
	Stored    int64 // bytes, as far as is known
	Most      int64 // bytes, if nothing shrinks and nothing is found to be stored already
	Basis     Basis
	Ratio     float64 // stored bytes of content for each byte that is read
	Objects   int64   // stored
	Longer    int64   // locks lengthened
	Vault     meter.Asked
	Source    meter.Asked
	ByteHours float64   // bound by lengthened locks
	Now       int64     // bytes that the vault holds now, as far as this machine knows
	Needs     int64     // objects that the last point needs
	Until     time.Time // until when what is stored is locked; where there are no locks, kept
}

// Run forecasts from a dry run. vault and source are what that asked.
func Run(r *backup.Result, i int, vault, source meter.Asked) Forecast {
	w := r.Work
	f := Forecast{Reads: w.Reads, BytesRead: r.BytesRead, Basis: Unknown, Ratio: 1, Source: source, Until: r.Vaults[i].LockedUntil, Needs: w.Needs}
	if f.Until.IsZero() {
		f.Until = r.RetainUntil
	}
	line := float64(lineBytes)
	if d := w.Last; d.Bytes > 0 && d.Packed > 0 {
		f.Basis, f.Ratio = LastPoint, min(float64(d.Packed)/float64(d.Bytes), 1)
	}
	if d := w.Last; d.Entries > 0 && d.Pages > 0 {
		line = float64(d.Pages) / float64(d.Entries)
	}
	fresh, chunks, weight := r.BytesRead, w.Chunks, w.Weight
	if w.Back && r.BytesRead > 0 {
		f.Basis = Filled
		fresh = max(r.BytesRead-w.Last.Bytes, 0)
		share := float64(fresh) / float64(r.BytesRead)
		chunks, weight = int64(math.Ceil(float64(chunks)*share)), int64(float64(weight)*share)
	}
	packed := int64(float64(fresh) * f.Ratio * sealed)
	pages, index := int64(float64(w.Lines)*line*sealed), chunks*indexBytes
	f.Stored = packed + pages + index + fixedBytes
	f.Most = int64(float64(r.BytesRead)*sealed) + pages + w.Chunks*indexBytes + fixedBytes

	f.Objects = objects(chunks, weight, packed, pages)
	f.Source.Get += w.Asks
	f.Vault = vault
	f.Vault.Put += f.Objects
	f.Vault.Get += f.Objects
	// What every point needs is looked for in the vault the first time: listed, read, looked at.
	f.Vault.List += w.Standing
	f.Vault.Get += 2 * w.Standing
	if i < len(w.Locks) {
		l := w.Locks[i]
		f.Longer, f.ByteHours, f.Now = l.Longer, l.ByteHours, l.Stored
		f.Vault.Get += l.Locks + l.Longer
		f.Vault.Lock += l.Longer
	}
	return f
}

// objects is how many a run stores.
func objects(chunks, weight, packed, pages int64) int64 {
	n := int64(3) // the point, its lists, placements
	if chunks > 0 {
		n += max(up(packed, packBytes), up(chunks, packChunks), up(weight, waitingMax))
	}
	n += max(1, up(pages, metaBytes))
	flushes := max(packed/flushBytes, chunks/packChunks)
	n += 2 * flushes // an index segment, and placements
	if chunks > besideLines || chunks > 0 && pages > besideBytes {
		n++
	}
	return n
}

func up(n, by int64) int64 { return (n + by - 1) / by }

// Cost is money, in one currency. Parts add up to Amount.
type Cost struct {
	Currency string
	Of       string // the table, with its date
	Amount   float64
	Storage  float64 // what is stored, until its locks end, or as long as the vendor bills at least
	Longer   float64 // what lengthened locks bind, beside what they did before
	Requests float64
	Egress   float64
	Days     float64 // that storage is billed for
	Minimum  bool    // it is the vendor's least
	Month    float64 // what a month of all that the vault holds after the run costs, and lengthening its locks
}

// InVault is what a run costs in the vault until the locks end of what it stores. slack is what locks are longer than needed by.
func (f Forecast) InVault(p prices.Price, now time.Time, slack time.Duration) Cost {
	kept := max(f.Until.Sub(now), 0)
	bytes := max(f.Stored, f.Objects*p.Table.MinimumBytes)
	billed := p.Billed(kept)
	c := Cost{
		Currency: p.Table.Currency, Of: p.Name(), Days: billed.Hours() / 24, Minimum: billed > kept,
		Storage: p.Kept(bytes, kept), Longer: p.Month(1) * f.ByteHours / prices.Month.Hours(), Requests: p.Requests(f.Vault),
	}
	c.Amount = c.Storage + c.Longer + c.Requests
	c.Month = p.Month(f.Now + f.Stored)
	if slack > 0 {
		calls := int64(float64(f.Needs+f.Objects) * float64(prices.Month) / float64(slack))
		c.Month += p.Requests(meter.Asked{Lock: calls, Get: 2 * calls})
	}
	return c
}

// AtSource is what reading costs there. blocks is of a source of disk images, whose requests have prices of their own.
func (f Forecast) AtSource(p prices.Price, blocks bool) (Cost, error) {
	c := Cost{Currency: p.Table.Currency, Of: p.Name(), Egress: p.Out(f.BytesRead), Requests: p.Requests(f.Source)}
	if blocks {
		var ok bool
		if c.Requests, ok = p.Blocks(f.Source); !ok {
			return c, prices.ErrNone
		}
	}
	c.Amount = c.Egress + c.Requests
	return c, nil
}

// Restore is what a restore would read of a vault.
type Restore struct {
	Bytes    int64 // from the vault
	Content  int64 // that come out of it
	Objects  int64
	Requests meter.Asked
}

// Cost is what it costs at the vault.
func (r Restore) Cost(p prices.Price) Cost {
	c := Cost{Currency: p.Table.Currency, Of: p.Name(), Egress: p.Out(r.Bytes), Requests: p.Requests(r.Requests)}
	c.Amount = c.Egress + c.Requests
	return c
}

// Takes is how long it takes at a rate of bytes a second.
func (r Restore) Takes(rate int64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(max(r.Bytes, r.Content)) / float64(rate) * float64(time.Second))
}
