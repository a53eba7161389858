package keys_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

func generate(t testing.TB, c keys.Class) keys.Identity {
	t.Helper()
	id, err := keys.GenerateIdentity(c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func generateHost(t testing.TB, c keys.Class) *keys.HostKey {
	t.Helper()
	k, err := keys.GenerateHostKey(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestIdentityRoundTrip(t *testing.T) {
	for class, prefix := range map[keys.Class]string{keys.Hybrid: "age1pq1", keys.X25519: "age1"} {
		t.Run(string(class), func(t *testing.T) {
			id := generate(t, class)
			if id.Class() != class || id.Recipient().Class() != class {
				t.Errorf("class %s, recipient's %s", id.Class(), id.Recipient().Class())
			}
			if !strings.HasPrefix(id.Recipient().String(), prefix) {
				t.Errorf("recipient is %s", id.Recipient())
			}
			again, err := keys.ParseIdentity(id.Secret())
			if err != nil || again.Secret() != id.Secret() || !again.Recipient().Equal(id.Recipient()) {
				t.Errorf("parsed again: %v, %v", again, err)
			}
			r, err := keys.ParseRecipient(id.Recipient().String())
			if err != nil || !r.Equal(id.Recipient()) || r.Class() != class || r.Age() == nil {
				t.Errorf("recipient parsed again: %v, %v", r, err)
			}
		})
	}
	if _, err := keys.GenerateIdentity("rsa"); err == nil {
		t.Error("an unknown class was generated")
	}
}

func TestParseRecipients(t *testing.T) {
	pq1, pq2 := generate(t, keys.Hybrid).Recipient().String(), generate(t, keys.Hybrid).Recipient().String()
	c1 := generate(t, keys.X25519)
	classic := c1.Recipient().String()
	for name, c := range map[string]struct {
		in   []string
		want error
	}{
		"two hybrid":       {[]string{pq1, pq2}, nil},
		"one classic":      {[]string{classic}, nil},
		"none":             {nil, keys.ErrNoRecipients},
		"twice":            {[]string{pq1, pq2, pq1}, keys.ErrDuplicate},
		"mixed":            {[]string{pq1, classic}, keys.ErrMixedClasses},
		"mixed otherwise":  {[]string{classic, pq1}, keys.ErrMixedClasses},
		"empty text":       {[]string{""}, keys.ErrMalformed},
		"space around":     {[]string{" " + pq1}, keys.ErrMalformed},
		"upper case":       {[]string{strings.ToUpper(classic)}, keys.ErrMalformed},
		"cut short":        {[]string{pq1[:len(pq1)-1]}, keys.ErrMalformed},
		"a letter changed": {[]string{flipLetter(classic)}, keys.ErrMalformed},
		"plugin":           {[]string{"age1yubikey1qdge"}, keys.ErrMalformed},
		"ssh":              {[]string{"ssh-ed25519 AAAA"}, keys.ErrMalformed},
		"secret":           {[]string{c1.Secret()}, keys.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			rs, err := keys.ParseRecipients(c.in)
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && len(rs) != len(c.in) {
				t.Errorf("%d recipients", len(rs))
			}
			if err != nil && strings.Contains(err.Error(), c1.Secret()[20:40]) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func flipLetter(s string) string {
	b := []byte(s)
	if b[len(b)-8] == 'q' {
		b[len(b)-8] = 'p'
	} else {
		b[len(b)-8] = 'q'
	}
	return string(b)
}

func TestRecipientText(t *testing.T) {
	r := generate(t, keys.X25519).Recipient()
	b, err := json.Marshal([]keys.Recipient{r})
	if err != nil {
		t.Fatal(err)
	}
	var back []keys.Recipient
	if err := json.Unmarshal(b, &back); err != nil || len(back) != 1 || !back[0].Equal(r) || back[0].Age() == nil {
		t.Errorf("%s came back as %v, %v", b, back, err)
	}
	if err := json.Unmarshal([]byte(`["age1nothing"]`), &back); !errors.Is(err, keys.ErrMalformed) {
		t.Errorf("a bad recipient gave %v", err)
	}
}

func TestIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "restore.key")
	id := generate(t, keys.Hybrid)
	created := time.Date(2026, 11, 23, 9, 0, 0, 0, time.FixedZone("x", 3600))
	if err := keys.WriteIdentityFile(path, id, created); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text, _ := os.ReadFile(path)
	public := id.Recipient().String()
	want := "# created: 2026-11-23T08:00:00Z\n# public key: " + public + "\n" + id.Secret() + "\n# short form: " + keys.ShortForm(public) + "\n"
	if string(text) != want {
		t.Errorf("the file does not read as age-keygen's do")
	}
	if !bytes.Equal(text, keys.MarshalIdentity(id, created)) {
		t.Error("MarshalIdentity differs from the file")
	}
	ids, err := keys.ParseIdentities(text)
	if err != nil || len(ids) != 1 || ids[0].Secret() != id.Secret() {
		t.Errorf("read back %v, %v", ids, err)
	}
	err = keys.WriteIdentityFile(path, generate(t, keys.Hybrid), created)
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwriting gave %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, text) {
		t.Error("the file was overwritten")
	}
	if err := keys.WriteIdentityFile(filepath.Join(t.TempDir(), "none"), keys.Identity{}, created); err == nil {
		t.Error("no identity was written as one")
	}
	err = keys.WriteIdentityFile(filepath.Join(t.TempDir(), "no", "such", "folder"), id, created)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder gave %v", err)
	}
}

func TestParseIdentities(t *testing.T) {
	a, b := generate(t, keys.X25519), generate(t, keys.Hybrid)
	host, err := generateHost(t, keys.X25519).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		n    int
		want error
		says string
	}{
		"one":                 {a.Secret() + "\n", 1, nil, ""},
		"no last line end":    {a.Secret(), 1, nil, ""},
		"two and comments":    {"# x\n\n" + a.Secret() + "\n#\n" + b.Secret() + "\n\n", 2, nil, ""},
		"Windows line ends":   {"# x\r\n" + a.Secret() + "\r\n", 1, nil, ""},
		"empty":               {"", 0, keys.ErrEmpty, "no secret key"},
		"comments only":       {"# one\n\n# two\n", 0, keys.ErrEmpty, "no secret key"},
		"public key":          {a.Recipient().String(), 0, keys.ErrMalformed, "public recipient"},
		"host key":            {string(host), 0, keys.ErrMalformed, "host key"},
		"passphrase file":     {"-----BEGIN AGE ENCRYPTED FILE-----\n", 0, keys.ErrMalformed, "age -d"},
		"ssh":                 {"-----BEGIN OPENSSH PRIVATE KEY-----\n", 0, keys.ErrMalformed, "SSH"},
		"plugin":              {"AGE-PLUGIN-YUBIKEY-1Q\n", 0, keys.ErrMalformed, "plugin"},
		"line number":         {"#\n" + a.Secret() + "\n" + flipLetterUpper(a.Secret()) + "\n", 0, keys.ErrMalformed, "line 3"},
		"lower case":          {strings.ToLower(a.Secret()), 0, keys.ErrMalformed, ""},
		"binary":              {"\x00\xff\xfe", 0, keys.ErrMalformed, ""},
		"two on one line":     {a.Secret() + " " + a.Secret(), 0, keys.ErrMalformed, ""},
		"hybrid label, wrong": {"AGE-SECRET-KEY-PQ-1" + a.Secret()[16:], 0, keys.ErrMalformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ids, err := keys.ParseIdentities([]byte(c.text))
			if (c.want == nil) != (err == nil) || !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if len(ids) != c.n {
				t.Errorf("%d identities", len(ids))
			}
			if err != nil {
				if !strings.Contains(err.Error(), c.says) {
					t.Errorf("the error %q does not say %q", err, c.says)
				}
				assertSecretless(t, err.Error(), secretsOf(a))
			}
		})
	}
	if _, err := keys.ParseIdentities(bytes.Repeat([]byte("#\n"), 1<<20)); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("2 MiB gave %v", err)
	}
}

func flipLetterUpper(s string) string { return strings.ToUpper(flipLetter(strings.ToLower(s))) }

// secretsOf lists stretches of a secret that must not turn up in any output. Every window of 8 characters of the text
// form, past its public prefix.
func secretsOf(id keys.Identity) []string {
	s := id.Secret()[len("AGE-SECRET-KEY-PQ-1"):]
	var out []string
	for i := 0; i+8 <= len(s); i += 4 {
		out = append(out, s[i:i+8])
	}
	return out
}

func hostSecretsOf(k *keys.HostKey) []string {
	out := secretsOf(k.Metadata)
	for _, raw := range [][]byte{k.ChunkKey[:], k.Signing.Seed()} {
		out = append(out, fmt.Sprintf("%x", raw)[:16], fmt.Sprintf("%X", raw)[:16], strings.Trim(fmt.Sprint(raw[:6]), "[]"),
			strings.TrimSuffix(fmt.Sprintf("%#v", raw[:4])[len("[]byte{"):], "}"))
		j, _ := json.Marshal(raw)
		out = append(out, string(j[1:17]))
		ints := make([]string, 6)
		for i := range ints {
			ints[i] = fmt.Sprint(raw[i])
		}
		out = append(out, strings.Join(ints, ","))
	}
	return out
}

func assertSecretless(t *testing.T, output string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(output, s) {
			t.Errorf("the output shows %q:\n%.300s", s, output)
			return
		}
	}
}

// TestRedaction prints secrets in every way a careless line of code would.
func TestRedaction(t *testing.T) {
	type nested struct {
		Exported any
		hidden   any
	}
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		id, host := generate(t, class), generateHost(t, class)
		type holder struct {
			Exported keys.Identity
			hidden   keys.Identity
		}
		type hostHolder struct {
			Exported *keys.HostKey
			Value    keys.HostKey
		}
		for name, c := range map[string]struct {
			v       any
			secrets []string
		}{
			"identity":             {id, secretsOf(id)},
			"pointer to identity":  {&id, secretsOf(id)},
			"identities":           {[]keys.Identity{id}, secretsOf(id)},
			"map":                  {map[string]keys.Identity{"k": id}, secretsOf(id)},
			"nested":               {nested{id, id}, secretsOf(id)},
			"holder":               {holder{id, id}, secretsOf(id)},
			"pointer to holder":    {&holder{id, id}, secretsOf(id)},
			"zero identity":        {keys.Identity{}, secretsOf(id)},
			"host key":             {host, hostSecretsOf(host)},
			"host key by value":    {*host, hostSecretsOf(host)},
			"host key nested":      {nested{host, id}, hostSecretsOf(host)},
			"host key holder":      {hostHolder{host, *host}, hostSecretsOf(host)},
			"host keys":            {[]*keys.HostKey{host}, hostSecretsOf(host)},
			"host key in an error": {fmt.Errorf("x: %v %+v", host, *host), hostSecretsOf(host)},
			"zero host key":        {keys.HostKey{}, hostSecretsOf(host)},
		} {
			t.Run(string(class)+"/"+name, func(t *testing.T) {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%20v"} {
					assertSecretless(t, fmt.Sprintf(verb, c.v), c.secrets)
				}
				assertSecretless(t, fmt.Sprint(c.v), c.secrets)
				var buf bytes.Buffer
				slog.New(slog.NewTextHandler(&buf, nil)).Info("m", "v", c.v)
				slog.New(slog.NewJSONHandler(&buf, nil)).Info("m", "v", c.v)
				slog.New(slog.NewJSONHandler(&buf, nil)).Info("m", slog.Group("g", "v", c.v))
				if j, err := json.Marshal(c.v); err == nil {
					buf.Write(j)
				}
				assertSecretless(t, buf.String(), c.secrets)
			})
		}
		if s := id.String(); !strings.Contains(s, string(class)) || !strings.Contains(s, id.Recipient().String()[:12]) {
			t.Errorf("an identity prints as %q, which does not tell which it is", s)
		}
	}
}

// The short form is part of what people have on paper: it never changes.
func TestShortForm(t *testing.T) {
	for public, want := range map[string]string{
		"":     "e3b0 c442 98fc 1c14 9afb f4c8 996f b924",
		"age1": "53b7 58d2 58da abe8 32a9 abd0 0e2f 3499",
	} {
		if got := keys.ShortForm(public); got != want {
			t.Errorf("%q: %s", public, got)
		}
	}
}
