package keys_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

func TestHostKeyRoundTrip(t *testing.T) {
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		k := generateHost(t, class)
		text, err := k.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		again, err := keys.ParseHostKey(text)
		if err != nil || !again.Equal(k) || !k.Equal(again) || again.Metadata.Class() != class {
			t.Errorf("%s: came back as %v, %v", class, again, err)
		}
		if !again.Public().Equal(k.Public()) {
			t.Errorf("%s: the public key differs", class)
		}
		path := filepath.Join(t.TempDir(), "host.key")
		if err := keys.WriteHostKeyFile(path, k); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if read, err := keys.ReadHostKeyFile(path); err != nil || !read.Equal(k) {
			t.Errorf("%s: read as %v, %v", class, read, err)
		}
		if err := keys.WriteHostKeyFile(path, k); !errors.Is(err, os.ErrExist) {
			t.Errorf("overwriting gave %v", err)
		}
	}
}

func TestHostKeyEqual(t *testing.T) {
	a, b := generateHost(t, keys.X25519), generateHost(t, keys.X25519)
	chunk, sign, meta := *a, *a, *a
	chunk.ChunkKey, sign.Signing, meta.Metadata = b.ChunkKey, b.Signing, b.Metadata
	for name, o := range map[string]*keys.HostKey{"all": b, "chunk key": &chunk, "signing": &sign, "metadata": &meta, "zero": {}, "nil": nil} {
		if a.Equal(o) {
			t.Errorf("equal though %s differs", name)
		}
	}
	same := *a
	if !a.Equal(&same) {
		t.Error("a copy is not equal")
	}
}

func TestHostKeyIncomplete(t *testing.T) {
	k := &keys.HostKey{}
	if _, err := k.MarshalText(); !errors.Is(err, keys.ErrMalformed) {
		t.Errorf("an empty key was written: %v", err)
	}
	if k.Public() != nil {
		t.Error("an empty key has a public half")
	}
	path := filepath.Join(t.TempDir(), "host.key")
	if err := keys.WriteHostKeyFile(path, k); err == nil {
		t.Error("an empty key was written to a file")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left a file: %v", err)
	}
}

// TestHostKeyStrict edits a valid key in ways that must each be refused, and in the few that must not.
func TestHostKeyStrict(t *testing.T) {
	k := generateHost(t, keys.X25519)
	text, err := k.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	version, meta, chunk, sign := lines[0], lines[1], lines[2], lines[3]+"\n"
	zeros := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"as written":         {string(text), nil},
		"comments":           {version + "# a\n" + meta + "#\n" + chunk + sign + "# end\n", nil},
		"comment, no end":    {string(text) + "# end", nil},
		"empty":              {"", keys.ErrMalformed},
		"version only":       {version, keys.ErrMalformed},
		"comment first":      {"# a\n" + string(text), keys.ErrMalformed},
		"newer":              {"holdfast-host-key-2\nwhatever it holds\n", keys.ErrNewer},
		"newer still":        {"holdfast-host-key-4000000000\n", keys.ErrNewer},
		"version 0":          {strings.Replace(string(text), "key-1", "key-0", 1), keys.ErrMalformed},
		"version 01":         {strings.Replace(string(text), "key-1", "key-01", 1), keys.ErrMalformed},
		"version 02":         {"holdfast-host-key-02\n", keys.ErrMalformed},
		"version +1":         {strings.Replace(string(text), "key-1", "key-+1", 1), keys.ErrMalformed},
		"version huge":       {"holdfast-host-key-99999999999999999999\n", keys.ErrMalformed},
		"other order":        {version + chunk + meta + sign, keys.ErrMalformed},
		"field missing":      {version + meta + sign, keys.ErrMalformed},
		"field twice":        {string(text) + sign, keys.ErrMalformed},
		"unknown field":      {string(text) + "colour blue\n", keys.ErrMalformed},
		"blank line":         {version + "\n" + meta + chunk + sign, keys.ErrMalformed},
		"no last line end":   {strings.TrimSuffix(string(text), "\n"), keys.ErrMalformed},
		"Windows line ends":  {strings.ReplaceAll(string(text), "\n", "\r\n"), keys.ErrMalformed},
		"two spaces":         {strings.Replace(string(text), "chunk-id ", "chunk-id  ", 1), keys.ErrMalformed},
		"space at the end":   {version + meta + strings.TrimSuffix(chunk, "\n") + " \n" + sign, keys.ErrMalformed},
		"base64 unpadded":    {strings.ReplaceAll(string(text), "=", ""), keys.ErrMalformed},
		"31 bytes":           {version + meta + "chunk-id " + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n" + sign, keys.ErrMalformed},
		"zeros":              {version + meta + "chunk-id " + zeros + "\n" + sign, keys.ErrMalformed},
		"zero seed":          {version + meta + chunk + "signing " + zeros + "\n", keys.ErrMalformed},
		"metadata public":    {version + "metadata " + k.Metadata.Recipient().String() + "\n" + chunk + sign, keys.ErrMalformed},
		"a restore key":      {k.Metadata.Secret() + "\n", keys.ErrMalformed},
		"too long":           {string(text) + strings.Repeat("# x\n", 20<<10), keys.ErrTooLarge},
		"stray base64 bits":  {version + meta + "chunk-id " + strayBits(chunk) + "\n" + sign, keys.ErrMalformed},
		"indented comment":   {version + " # a\n" + meta + chunk + sign, keys.ErrMalformed},
		"carriage in base64": {version + meta + chunk[:20] + "\r" + chunk[20:] + sign, keys.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keys.ParseHostKey([]byte(c.text))
			if (err == nil) != (c.want == nil) || !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && !got.Equal(k) {
				t.Error("it came out as another key")
			}
			if err != nil {
				assertSecretless(t, err.Error(), hostSecretsOf(k))
			}
		})
	}
}

// strayBits gives the value of a field with the two bits set that the last base64 digit of 32 bytes does not use.
func strayBits(line string) string {
	v := []byte(strings.TrimSpace(strings.TrimPrefix(line, "chunk-id ")))
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := len(v) - 2
	v[last] = digits[strings.IndexByte(digits, v[last])|1]
	return string(v)
}

// FuzzParseHostKey: whatever is accepted, without its comments, is exactly what MarshalText writes.
func FuzzParseHostKey(f *testing.F) {
	text, err := os.ReadFile("testdata/hostkey-x25519.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("holdfast-host-key-2\n"))
	f.Add([]byte("holdfast-host-key-1\nmetadata \nchunk-id \nsigning \n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := keys.ParseHostKey(in)
		if err != nil {
			return
		}
		out, err := k.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var plain []byte
		for line := range bytes.Lines(in) {
			if !bytes.HasPrefix(line, []byte("#")) {
				plain = append(plain, line...)
			}
		}
		if !bytes.Equal(plain, out) {
			t.Errorf("%q was taken for %q", in, out)
		}
	})
}

// FuzzParseIdentities: never panics, and every key it gives can be written and read again.
func FuzzParseIdentities(f *testing.F) {
	for _, name := range []string{"hybrid.key", "x25519.key"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("# nothing\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ids, err := keys.ParseIdentities(in)
		if err == nil && len(ids) == 0 {
			t.Error("no keys and no error")
		}
		for _, id := range ids {
			if again, err := keys.ParseIdentity(id.Secret()); err != nil || again.Recipient().String() != id.Recipient().String() {
				t.Errorf("%v does not parse again: %v", id, err)
			}
		}
	})
}

// TestVectors reads files made once by age-keygen 1.3.2 and by this package, so that a change of the forms is noticed.
func TestVectors(t *testing.T) {
	for file, class := range map[string]keys.Class{"hybrid.key": keys.Hybrid, "x25519.key": keys.X25519} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		ids, err := keys.ParseIdentities(text)
		if err != nil || len(ids) != 1 || ids[0].Class() != class {
			t.Fatalf("%s: %v, %v", file, ids, err)
		}
		if !strings.Contains(string(text), "# public key: "+ids[0].Recipient().String()+"\n") {
			t.Errorf("%s: another recipient than age-keygen's: %s", file, ids[0].Recipient())
		}
	}
	for file, class := range map[string]keys.Class{"hostkey-hybrid.txt": keys.Hybrid, "hostkey-x25519.txt": keys.X25519} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		k, err := keys.ParseHostKey(text)
		if err != nil || k.Metadata.Class() != class {
			t.Fatalf("%s: %v, %v", file, k, err)
		}
		if again, err := k.MarshalText(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%s is written differently now: %v", file, err)
		}
	}
}
