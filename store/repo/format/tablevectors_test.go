package format

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
)

// tableVectors are what is computed rather than decoded: names and cut hashes, a line each.
func tableVectors(t *testing.T) []vector {
	h := hashOf("x")
	at := time.Date(2026, 11, 23, 8, 5, 0, 999, time.UTC)
	pub := seed().Public().(ed25519.PublicKey)
	var names bytes.Buffer
	placements, junk := signedPlacements(at, h).Name(), bytes.Repeat([]byte{0xab}, 64)
	descriptor := DescriptorID{Number: 12, Sum: h, Hint: KeyHint(pub), Signature: junk}.Name()
	for _, n := range []string{PackName(h), MetaName(h), NeedsName(h), HostKeyName(h), DescriptorID{Sum: h}.Name(), descriptor, placements} {
		got, err := ParseName(n)
		if err != nil || got != h {
			t.Fatalf("%s: %v", n, err)
		}
		fmt.Fprintf(&names, "ok\t%s\n", n)
	}
	point := PointID{Source: "web-1", SignedAt: At(at), ID: h, Hint: KeyHint(pub), Signature: junk}.Name()
	if id, err := ParsePointName(point); err != nil || id.Name() != point {
		t.Fatalf("%s: %v", point, err)
	}
	fmt.Fprintf(&names, "ok\t%s\n", point)
	s := h.String()
	for _, n := range []string{
		"packs/" + s + ".age", "packs/00/" + s + ".age", PackName(h) + "/", "/" + PackName(h), strings.ToUpper(PackName(h)), strings.Replace(PackName(h), ".age", ".zst", 1),
		"keys/" + s[:2] + "/" + s + ".age", "descriptors/0-" + s + ".json", "descriptors/+00001-" + s + ".json", "descriptors/000001-" + s + ".json", "descriptors/000000-" + s + "-" + strings.Repeat("ab", 64) + ".json", "descriptors/000001-" + s + "-" + strings.Repeat("ab", 64) + ".json", strings.Replace(descriptor, "000012", "000000", 1), "placements/20261123T080500Z-" + s + ".zst",
		strings.Replace(placements, "20261123", "20261323", 1), strings.Replace(placements, "0500Z", "0500.5Z", 1), strings.Replace(placements, "offsite/", "", 1), strings.Replace(placements, "offsite", "Off", 1),
		strings.Replace(placements, ".zst", "", 1), strings.Replace(placements, KeyHint(pub), strings.ToUpper(KeyHint(pub)), 1), strings.Replace(placements, "-"+KeyHint(pub), "", 1), strings.Replace(point, "-"+KeyHint(pub), "", 1), strings.Replace(point, KeyHint(pub), strings.ToUpper(KeyHint(pub)), 1), strings.Replace(descriptor, KeyHint(pub), "0000000g", 1), strings.Replace(point, "web-1", "Web", 1), strings.Replace(point, "web-1", "..", 1), point[:len(point)-2], strings.ToUpper(point), "reports/x", "packs", "meta", "keys", "points",
	} {
		if storedName(n) == nil {
			t.Fatalf("%s is taken for a name", n)
		}
		fmt.Fprintf(&names, "refuse\t%s\n", n)
	}

	var cuts bytes.Buffer
	chunkKey := [32]byte(bytes.Repeat([]byte{0x17}, 32))
	for _, c := range []struct {
		key [32]byte
		of  string
		k   string
	}{{chunkKey, "leaf", "docs/readme.txt"}, {chunkKey, "inner 1", "docs/readme.txt"}, {chunkKey, "leaf", "\xff"}, {[32]byte{}, "leaf", PackName(h)}, {[32]byte{}, "inner 2", PackName(h)}} {
		fmt.Fprintf(&cuts, "%x\t%s\t%x\t%016x\n", c.key, c.of, c.k, attest.CutHash(c.key, c.of, []byte(c.k)))
	}
	return []vector{
		{path: "name/names", comment: "a line each: ok or refuse, TAB, name", body: names.Bytes()},
		{path: "cut/cuts", comment: "a line each, TAB between: key in hex, domain, k in hex, cut hash in hex", body: cuts.Bytes()},
		{path: "cut/chunk-id", comment: "chunk key in hex, TAB, SHA-256 of the content, TAB, chunk ID", body: fmt.Appendf(nil, "%x\t%s\t%x\n", chunkKey, h, attest.ChunkID(chunkKey, h))},
		{path: "cut/chunk-key", comment: "chunk key in hex, TAB, its ID", body: fmt.Appendf(nil, "%x\t%x\n", chunkKey, attest.ChunkKeyID(chunkKey))},
	}
}

// signedPlacements is a placements object's name, signed for the repository of the vectors.
func signedPlacements(at time.Time, sum Hash) PlacementsID {
	id := PlacementsID{Vault: "offsite", Written: At(at), Sum: sum, Hint: KeyHint(seed().Public().(ed25519.PublicKey))}
	id.Signature = signer(attest.Placements)(id.Message(hashOf("repository")))
	return id
}

// A signer without a key cannot produce an object that looks signed.
func TestUnsigned(t *testing.T) {
	none := func([]byte) []byte { return nil }
	if _, err := EncodeDescriptor(testDescriptor(), none); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
	if _, err := EncodeIndex(SegmentHeader{Repository: hashOf("r"), Descriptor: hashOf("d"), ChunkKey: hashOf("k"), Written: moment("2026-11-23T08:05:00Z")}, nil, none); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
}
