package guard_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is a source as its users know it: files with real content of usual kinds, that change day by day. All it does comes
// from one seed.
type world struct {
	t     testing.TB
	rnd   *rand.Rand
	now   time.Time
	files map[string]*file
	key   cipher.Block // of whoever encrypts
	seq   int

	entries int             // how many files touched is counted against
	touched map[string]bool // today, by an attacker
	done    map[string]bool // what is encrypted already
	lost    map[string][]byte
	wire    bool // somebody writes to a tripwire
	packer  *gzip.Writer
}

// file is one file. Its body is never changed in place.
type file struct {
	body     []byte
	modified time.Time
	locked   bool // cannot be read any more: encrypted with a key of somebody else's, SSE-C
	marker   bool // a delete marker lies on top
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC), // a Monday
		files: map[string]*file{}, touched: map[string]bool{}, done: map[string]bool{},
	}
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(w.rnd.Uint32())
	}
	w.key, _ = aes.NewCipher(secret)
	return w
}

// forked is the same world, which from now on has chance of its own.
func forked(t testing.TB, w *world, seed uint64) *world {
	out := *w
	out.t, out.rnd = t, rand.New(rand.NewPCG(seed, 7))
	out.files, out.touched, out.done, out.lost = make(map[string]*file, len(w.files)), map[string]bool{}, maps.Clone(w.done), maps.Clone(w.lost)
	for n, f := range w.files {
		is := *f
		out.files[n] = &is
	}
	out.packer = nil
	return &out
}

// put writes a file now.
func (w *world) put(name string, body []byte) { w.files[name] = &file{body: body, modified: w.now} }

// spoil is put for an attacker: it counts what was touched.
func (w *world) spoil(name string, body []byte) {
	w.touched[name] = true
	w.put(name, body)
}

// names gives all files in order, so that one seed means one history.
func (w *world) names(keep func(string) bool) []string {
	out := slices.Sorted(maps.Keys(w.files))
	return slices.DeleteFunc(out, func(n string) bool { return w.files[n].marker || keep != nil && !keep(n) })
}

// some gives a share of the files that keep takes, at least one if there are any, in order.
func (w *world) some(share float64, keep func(string) bool) []string {
	all := w.names(keep)
	if len(all) == 0 {
		return nil
	}
	w.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	out := all[:max(1, int(share*float64(len(all))+0.999))]
	slices.Sort(out)
	return out
}

// words of which texts are made.
var words = strings.Fields(`the of and to in for is on that by this with you it not or be are from at as your all have new more an was we will
	home can us about if page my has search free but our one other do no information time they site he up may what which their news out use any
	there see only so his when contact here business who web also now help get view online first been would how were services some these click
	its like service than find price date back top people had list name just over state year day into email two health world next used go work
	last most products music buy data make them should product system post her city add policy number such please available copyright support`)

// text is prose with numbers in it: what compresses to a third.
func (w *world) text(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[w.rnd.IntN(len(words))])
		switch w.rnd.IntN(9) {
		case 0:
			fmt.Fprintf(&b, " %d", w.rnd.IntN(100_000))
		case 1:
			b.WriteString(".\n")
			continue
		}
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

func (w *world) csv(n int) []byte {
	b := bytes.NewBufferString("id,date,customer,amount,state\n")
	for b.Len() < n {
		fmt.Fprintf(b, "%d,2026-%02d-%02d,%s-%04x,%d.%02d,%s\n", w.rnd.IntN(1e6), 1+w.rnd.IntN(12), 1+w.rnd.IntN(28), words[w.rnd.IntN(len(words))],
			w.rnd.IntN(1<<16), w.rnd.IntN(1000), w.rnd.IntN(100), []string{"open", "paid", "late"}[w.rnd.IntN(3)])
	}
	return b.Bytes()
}

func (w *world) json(n int) []byte {
	b := bytes.NewBufferString("[\n")
	for b.Len() < n {
		fmt.Fprintf(b, "  {\"id\": %d, \"name\": %q, \"tags\": [%q, %q], \"score\": %.4f},\n", w.rnd.IntN(1e6), words[w.rnd.IntN(len(words))],
			words[w.rnd.IntN(len(words))], words[w.rnd.IntN(len(words))], w.rnd.Float64())
	}
	b.WriteString("  null\n]\n")
	return b.Bytes()
}

func (w *world) log(n int) []byte {
	var b bytes.Buffer
	for at := w.now; b.Len() < n; at = at.Add(time.Second) {
		fmt.Fprintf(&b, "%s INFO request id=%08x path=/%s status=%d took=%dms\n", at.Format(time.RFC3339), w.rnd.Uint32(), words[w.rnd.IntN(len(words))], 200+w.rnd.IntN(4), w.rnd.IntN(900))
	}
	return b.Bytes()
}

// noise is what nothing compresses.
func (w *world) noise(n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], w.rnd.Uint64())
	}
	return b[:n]
}

// photo is a picture with soft areas and grain, as cameras make them.
func (w *world) photo(side, quality int) []byte {
	img := image.NewYCbCr(image.Rect(0, 0, side, side), image.YCbCrSubsampleRatio420)
	r, g, grain := w.rnd.IntN(256), w.rnd.IntN(256), 8+w.rnd.IntN(40)
	for y := range side {
		for x := range side {
			c := color.RGBA{uint8(r + x), uint8(g + y), uint8(x * y / side), 255} //nolint:gosec // wraps
			yy, cb, cr := color.RGBToYCbCr(c.R, c.G, c.B)
			img.Y[img.YOffset(x, y)] = yy + uint8(w.rnd.IntN(grain)) //nolint:gosec // wraps
			img.Cb[img.COffset(x, y)], img.Cr[img.COffset(x, y)] = cb, cr
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) gzip(body []byte) []byte {
	var b bytes.Buffer
	if w.packer == nil {
		w.packer = gzip.NewWriter(&b)
	}
	w.packer.Reset(&b)
	_, _ = w.packer.Write(body)
	_ = w.packer.Close()
	return b.Bytes()
}

// office is a document as word processors keep it: a zip of XML.
func (w *world) office(n int) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, part := range []string{"[Content_Types].xml", "word/document.xml", "word/styles.xml"} {
		f, err := z.Create(part)
		if err != nil {
			w.t.Fatal(err)
		}
		_, _ = f.Write(w.text(n))
	}
	_ = z.Close()
	return b.Bytes()
}

// sealed is a file of a backup program: a header that says so, and what looks like chance.
func (w *world) sealed(n int) []byte {
	return append([]byte("age-encryption.org/v1\n-> X25519 "+fmt.Sprintf("%x", w.noise(24))+"\n--- \n"), w.noise(n)...)
}

// content makes what a file of that name holds.
func (w *world) content(name string) []byte {
	n := 800 + w.rnd.IntN(7000)
	if w.rnd.IntN(40) == 0 {
		n = 40_000 + w.rnd.IntN(160_000)
	}
	switch path.Ext(name) {
	case ".csv":
		return w.csv(n)
	case ".json":
		return w.json(n)
	case ".log":
		return w.log(n)
	case ".jpg":
		return w.photo(48+w.rnd.IntN(80), 85)
	case ".gz":
		return w.gzip(w.log(3 * n))
	case ".docx":
		return w.office(n)
	case ".age":
		return w.sealed(n)
	case ".sql":
		return bytes.Repeat(w.csv(100_000), 13) // larger than what is read whole
	}
	return w.text(n)
}

// kinds are the folders of a company, with what lies in them.
var kinds = []struct {
	folder string
	exts   []string
	share  int
}{
	{"docs", []string{".txt", ".html", ".docx"}, 4},
	{"uploads", []string{".jpg", ".docx", ".csv"}, 5},
	{"data", []string{".json", ".csv"}, 5},
	{"logs", []string{".log", ".gz"}, 3},
	{"backups", []string{".age"}, 1},
	{"src", []string{".txt", ".json", ".html"}, 3},
}

// newName is a name for one more file.
func (w *world) newName() string {
	i := w.rnd.IntN(21)
	for _, k := range kinds {
		if i -= k.share; i < 0 {
			w.seq++
			return fmt.Sprintf("%s/%s%02d/f%06d%s", k.folder, words[w.rnd.IntN(20)], w.rnd.IntN(4), w.seq, k.exts[w.rnd.IntN(len(k.exts))])
		}
	}
	panic("shares do not add up")
}

// settle fills a new world with n files that are up to two years old.
func (w *world) settle(n int) {
	for range n {
		name := w.newName()
		w.put(name, w.content(name))
		w.files[name].modified = w.now.Add(-time.Duration(w.rnd.IntN(730*24)) * time.Hour)
	}
	w.put("data/main.sql", w.content("data/main.sql"))
	w.entries = len(w.files)
}

// ledger is the tripwire, where there is one: nobody touches it on ordinary days.
const ledger = "docs/ledger.csv"

// day lets a day of ordinary work pass: files come, change and go, fewer of them at weekends.
func (w *world) day() {
	w.now = w.now.Add(24 * time.Hour)
	w.entries, w.touched = len(w.files), map[string]bool{}
	busy := 0.6 + 0.8*w.rnd.Float64()
	if d := w.now.Weekday(); d == time.Saturday || d == time.Sunday {
		busy *= 0.2
	}
	n := float64(len(w.files))
	for range int(0.006*n*busy) + w.rnd.IntN(3) {
		name := w.newName()
		w.put(name, w.content(name))
	}
	for _, name := range w.some(0.01*busy, func(n string) bool { return path.Ext(n) != ".age" && path.Ext(n) != ".gz" && n != ledger }) {
		w.edit(name)
	}
	for _, name := range w.some(0.002*busy, func(n string) bool { return n != ledger }) {
		delete(w.files, name)
	}
	if f := w.files["data/main.sql"]; f != nil && !w.done["data/main.sql"] {
		w.put("data/main.sql", append(w.csv(20_000), f.body...))
	}
}

// edit changes a file as its program does: texts in part, what is compressed as a whole.
func (w *world) edit(name string) {
	old := w.files[name].body
	switch path.Ext(name) {
	case ".jpg", ".docx", ".gz", ".age":
		w.put(name, w.content(name))
	default:
		at := w.rnd.IntN(len(old) + 1)
		w.put(name, slices.Concat(old[:at], w.text(20+w.rnd.IntN(400)), old[at:]))
	}
}

// encrypt is content as its attacker leaves it: whole, or each second stretch of some bytes, as those do who are in a hurry.
func (w *world) encrypt(body []byte, stretch int) []byte {
	out := slices.Clone(body)
	w.seq++
	iv := make([]byte, aes.BlockSize)
	binary.LittleEndian.PutUint64(iv, uint64(w.seq)) //nolint:gosec // positive
	s := cipher.NewCTR(w.key, iv)
	if stretch == 0 {
		s.XORKeyStream(out, out)
		return out
	}
	for at := 0; at < len(out); at += 2 * stretch {
		part := out[at:min(at+stretch, len(out))]
		s.XORKeyStream(part, part)
	}
	return out
}
