package report

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Errors of checking a report.
var (
	ErrNotReport = errors.New("not a report of holdfast")
	ErrChanged   = errors.New("changed after it was made")
	ErrTooLarge  = errors.New("larger than any report")
)

// MaxFile is how large a file of a report may be, in bytes.
const MaxFile = 64 << 20

// Seal stands at the end of both files of a report, the same in each: it holds the digests of both, and the reporter's signature over them.
// So neither can be changed, nor put beside another one's. Without a signature it only shows that nothing was changed by accident.
type Seal struct {
	Repository string `json:"repository"`
	Reporter   string `json:"reporter"`
	Number     int    `json:"number"`
	Key        string `json:"key"`     // the reporter's public key, hexadecimal; empty: nobody signed
	Figures    string `json:"figures"` // SHA-256 of the report's JSON, from its first brace to its last
	Page       string `json:"page"`    // SHA-256 of the page up to the seal
	Sum        string `json:"sum"`     // SHA-256 of the message that is signed
	Signature  string `json:"signature"`
}

// message is what is signed: six lines.
func (s Seal) message() []byte {
	var b bytes.Buffer
	for _, line := range []string{s.Repository, s.Reporter, strconv.Itoa(s.Number), s.Key, s.Figures, s.Page} {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// What stands around a page's seal. A page holds no other comment: its template has none, and texts are escaped.
const (
	sealBegins = "<!--holdfast-seal "
	sealEnds   = " -->\n"
)

// Figures gives a report as it is sealed, and its digest, which pages show.
func Figures(r *Report) (text []byte, digest string, err error) {
	if text, err = json.Marshal(r); err != nil {
		return nil, "", fmt.Errorf("write a report: %w", err)
	}
	return text, sum(text), nil
}

// Sealed is a report as it is written.
type Sealed struct {
	JSON, HTML []byte
	Seal       Seal
}

// SealUp seals the figures of a report and its page. key may be nil: then nobody vouches for it.
func SealUp(r *Report, repository string, figures, page []byte, key *keys.ReporterKey) (Sealed, error) {
	s := Seal{Repository: repository, Figures: sum(figures), Page: sum(page)}
	if key != nil {
		s.Reporter, s.Number, s.Key = r.Identity.Reporter, r.Identity.Number, hex.EncodeToString(key.Public())
	}
	message := s.message()
	s.Sum = sum(message)
	if key != nil {
		s.Signature = hex.EncodeToString(attest.Sign(key.Signing, attest.Report, message))
	}
	seal, err := json.Marshal(s)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal a report: %w", err)
	}
	return Sealed{Seal: s, JSON: jsonFile(figures, seal), HTML: bytes.Join([][]byte{page, []byte(sealBegins), seal, []byte(sealEnds)}, nil)}, nil
}

func jsonFile(figures, seal []byte) []byte {
	return bytes.Join([][]byte{[]byte(`{"report":`), figures, []byte(`,"seal":`), seal, []byte("}\n")}, nil)
}

// Checked is a file that is as it was made. Whether its key is one to be believed is for the caller.
type Checked struct {
	Form   string // json, html
	Seal   Seal
	Public ed25519.PublicKey // nil: nobody signed it
	Report *Report           // of the JSON; nil for a page
}

// Hint names the key in short, as records do.
func (c Checked) Hint() string { return format.KeyHint(c.Public) }

// Check looks whether a file is a report as it was made, down to the last byte.
func Check(file []byte) (Checked, error) {
	if len(file) > MaxFile {
		return Checked{}, ErrTooLarge
	}
	if bytes.HasPrefix(file, []byte(`{"report":`)) {
		return checkJSON(file)
	}
	at := bytes.LastIndex(file, []byte(sealBegins))
	if at < 0 {
		return Checked{}, ErrNotReport
	}
	page, rest := file[:at], file[at+len(sealBegins):]
	seal, ok := bytes.CutSuffix(rest, []byte(sealEnds))
	if !ok {
		return Checked{}, fmt.Errorf("its end: %w", ErrChanged)
	}
	c, err := checkSeal(seal)
	if err != nil {
		return Checked{}, err
	}
	if c.Form = "html"; c.Seal.Page != sum(page) {
		return Checked{}, fmt.Errorf("the page: %w", ErrChanged)
	}
	return c, nil
}

func checkJSON(file []byte) (Checked, error) {
	var f struct {
		Report json.RawMessage `json:"report"`
		Seal   json.RawMessage `json:"seal"`
	}
	d := json.NewDecoder(bytes.NewReader(file))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || !bytes.Equal(jsonFile(f.Report, f.Seal), file) {
		return Checked{}, fmt.Errorf("its form: %w", ErrChanged)
	}
	c, err := checkSeal(f.Seal)
	if err != nil {
		return Checked{}, err
	}
	if c.Form = "json"; c.Seal.Figures != sum(f.Report) {
		return Checked{}, fmt.Errorf("the figures: %w", ErrChanged)
	}
	var r Report
	if err := json.Unmarshal(f.Report, &r); err != nil || r.Kind != Kind {
		return Checked{}, ErrNotReport
	}
	if c.Public != nil && (r.Identity.Number != c.Seal.Number || r.Identity.Reporter != c.Seal.Reporter) {
		return Checked{}, fmt.Errorf("its number or reporter is not what its seal says: %w", ErrChanged)
	}
	c.Report = &r
	return c, nil
}

// checkSeal reads a seal, which has one spelling, and holds its signature against its key.
func checkSeal(text []byte) (Checked, error) {
	fail := fmt.Errorf("its seal: %w", ErrChanged)
	var s Seal
	if json.Unmarshal(text, &s) != nil {
		return Checked{}, fail
	}
	again, err := json.Marshal(s)
	if err != nil || !bytes.Equal(again, text) || s.Sum != sum(s.message()) {
		return Checked{}, fail
	}
	if s.Key == "" {
		if s.Signature != "" || s.Reporter != "" || s.Number != 0 {
			return Checked{}, fail
		}
		return Checked{Seal: s}, nil
	}
	key, kerr := hex.DecodeString(s.Key)
	signature, serr := hex.DecodeString(s.Signature)
	if errors.Join(kerr, serr) != nil || hex.EncodeToString(key) != s.Key || hex.EncodeToString(signature) != s.Signature ||
		!format.ValidName(s.Reporter) || !attest.Verify(key, attest.Report, s.message(), signature) {
		return Checked{}, fmt.Errorf("its signature: %w", ErrChanged)
	}
	return Checked{Seal: s, Public: key}, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
