package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// firstRows are what somebody who may write to a directory does to the first descriptor, which nobody's signature holds.
func firstRows() []tampering {
	planted := func(later time.Duration, gone, bare bool) func(*stage) {
		return func(s *stage) {
			s.bare = bare
			ours, his := plantFirst(s)
			s.come(his, ours, later)
			if gone {
				s.take(ours)
			}
		}
	}
	tiny := func(later time.Duration, bare bool) func(*stage) {
		return func(s *stage) {
			s.bare = bare
			ours := repositoryOf(s).Chain[0].Name
			s.come(putFirst(s, []byte("{\"format\":\"2\"}\n")), ours, later)
		}
	}
	whole := func(later time.Duration, bare bool) func(*stage) {
		return func(s *stage) {
			ours, his := plantFirst(s)
			body := inHead("2", false)(s.read(his))
			s.take(his)
			s.come(putFirst(s, body), ours, later)
			s.bare = bare
		}
	}
	newer := func(requires bool) func(*stage) {
		return func(s *stage) {
			ours := repositoryOf(s).Chain[0].Name
			body := s.read(ours)
			two := inHead(map[bool]string{true: format.Version, false: "2"}[requires], requires)(body[:bytes.LastIndexByte(body[:len(body)-1], '\n')+1])
			body = append(two, signatureLine(attest.Sign(s.host.Signing, attest.Descriptor, two))...)
			s.take(ours)
			s.pin(putFirst(s, body))
		}
	}
	return []tampering{
		{name: "a first descriptor beside, newer", want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: planted(time.Hour, false, false)},
		{name: "a first descriptor beside, older", dated: true, want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: planted(-time.Hour, false, false)},
		{name: "a first descriptor beside, of one age", dated: true, want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: planted(0, false, false)},
		{name: "a first descriptor in its place", dated: true, want: "points 2: nothing; verify 2: nothing; content 2: nothing; prune 2; latest 2: 0 files of no point; back 0 of 2; run 2: 1 failed; next 2: not the new point", do: planted(0, true, false)},
		{name: "a first descriptor beside, newer, without a pin", want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: planted(time.Hour, false, true)},
		{name: "a first descriptor beside, older, without a pin", dated: true, want: "points 4: nothing; verify 4: 1 tampered descriptors, 2 tampered placements, 2 tampered points; content 4: 1 tampered descriptors, 2 tampered placements, 2 tampered points; prune 0; latest 1: 0 files of no point; back 0 of 2; run 0: 1 complete; next 1: not the new point", do: planted(-time.Hour, false, true)},
		{name: "a first descriptor beside, of one age, without a pin", dated: true, want: "points 1: nothing; verify 1: nothing; content 1: nothing; prune 0; latest 1: 0 files of no point; back 0 of 2; run 0: 1 complete; next 1: not the new point", do: planted(0, false, true)},
		{name: "a first descriptor of 24 bytes of a later version, newer", want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: tiny(time.Hour, true)},
		{name: "a first descriptor of 24 bytes of a later version, older", dated: true, want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: tiny(-time.Hour, false)},
		{name: "a first descriptor of 24 bytes of a later version, older, without a pin", dated: true, want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 0; latest 4: point 2; back 2 of 2; run 0: 1 complete; next 4: the new point", do: tiny(-time.Hour, true)},
		{name: "a first descriptor of a later version beside, older", dated: true, want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: whole(-time.Hour, false)},
		{name: "a first descriptor of a later version beside, older, without a pin", dated: true, want: "points 1: nothing; verify 1: nothing; content 1: nothing; prune 0; latest 1: 0 files of no point; back 0 of 2; run 0: 1 complete; next 1: not the new point", do: whole(-time.Hour, true)},
		{name: "a first descriptor of a later version beside, newer, without a pin", want: "points 0: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: whole(time.Hour, true)},
		{name: "a repository of a later version", want: "points 1: nothing; verify 1: nothing; content 1: nothing; renew 1; prune 1; latest 1: 0 files of no point; back 0 of 2; run 1: 1 failed; next 1: not the new point", do: newer(false)},
		{name: "a repository with a feature", want: "points 1: nothing; verify 1: nothing; content 1: nothing; renew 1; prune 1; latest 1: 0 files of no point; back 0 of 2; run 1: 1 failed; next 1: not the new point", do: newer(true)},
	}
}

// forkRows are changes of keys that follow from the same descriptor.
func forkRows() []tampering {
	orphan := stageOptions{orphan: true}
	twice := func(later time.Duration) func(*stage) {
		return func(s *stage) {
			signer := s.host.Signing
			if len(repositoryOf(s).Now().KeysFor(format.UseOwner)) > 0 {
				signer = keys.OwnerKey(s.restore)
			}
			first, body := followingPoint(s, nil, nil, signer)
			second, other := followingPoint(s, nil, nil, signer)
			s.put(first, body)
			nextSecond(time.Now().Truncate(time.Second))
			s.put(second, other)
			s.come(second, first, later)
		}
	}
	return []tampering{
		{name: "two changes of keys by an owner", want: "points 4: 2 complete; verify 4: 3 tampered descriptors; content 4: 3 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", inDir: "points 4: 2 complete; verify 4: 3 tampered descriptors; content 4: 3 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: twice(time.Second)},
		{name: "two changes of keys by an owner, of one age", dated: true, want: "points 4: 2 complete; verify 4: 3 tampered descriptors; content 4: 3 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: twice(0)},
		{name: "two changes of keys by the host key", with: orphan, want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: twice(time.Second)},
		{name: "two changes of keys by the host key, of one age", dated: true, with: orphan, want: "points 2: nothing; verify 2: nothing; content 2: nothing; prune 2; latest 2: 0 files of no point; back 0 of 2; run 2: 1 failed; next 2: not the new point", do: twice(0)},
		{name: "a change of keys by the host key of an owner's repository", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: func(s *stage) { s.put(followingPoint(s, nil, nil, s.host.Signing)) }},
		{name: "a change of keys by nobody", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: func(s *stage) { s.put(followingPoint(s, nil, nil, thief().Signing)) }},
		{name: "a change of keys that follows from another", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", inDir: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: func(s *stage) {
			s.put(followingPoint(s, func(d *format.Descriptor) { d.Previous = [32]byte{7} }, nil, keys.OwnerKey(s.restore)))
		}},
		{name: "a change of keys without its bytes", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", inDir: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: func(s *stage) {
			name, body := followingPoint(s, nil, nil, keys.OwnerKey(s.restore))
			s.put(name, body[1:])
		}},
	}
}

// withheldRows are points that the vault does not list any more.
func withheldRows() []tampering {
	apart := stageOptions{apart: true}
	gone := func(bare bool, which ...int) func(*stage) {
		return func(s *stage) {
			nextSecond(time.Now().Truncate(time.Second))
			s.point()
			withholdNames(s, which...)
			s.bare = bare
		}
	}
	return []tampering{
		{name: "the middle point withheld", with: apart, want: "points 5: 2 complete; verify 5: 1 missing points; content 5: 1 missing points; renew 5; prune 5; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: 2 complete; verify 5: 1 missing points; content 5: 1 missing points; prune 5: refused; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", do: gone(false, 1)},
		{name: "the newest two points withheld", with: apart, want: "points 5: 1 complete; verify 5: 2 missing points; content 5: 2 missing points; renew 5; prune 5; latest 5: point 1; back 1 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: 1 complete; verify 5: 2 missing points; content 5: 2 missing points; prune 5: refused; latest 5: point 1; back 1 of 3; run 5: 1 complete; next 5: the new point", do: gone(false, 1, 2)},
		{name: "all points withheld", with: apart, want: "points 5: nothing; verify 5: 3 missing points; content 5: 3 missing points; renew 5; prune 5; latest 5: 0 files of no point; back 0 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: nothing; verify 5: 3 missing points; content 5: 3 missing points; prune 5: refused; latest 5: 0 files of no point; back 0 of 3; run 5: 1 complete; next 5: the new point", do: gone(false, 0, 1, 2)},
		{name: "the middle point withheld from a reader without configuration", with: apart, want: "points 5: 2 complete; verify 5: 1 missing points; content 5: 1 missing points; renew 5; prune 5; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: 2 complete; verify 5: 1 missing points; content 5: 1 missing points; prune 5: refused; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", do: gone(true, 1)},
		{name: "the oldest two points withheld from a reader without configuration", with: apart, want: "points 5: 1 complete; verify 5: 2 missing points; content 5: 2 missing points; renew 5; prune 5; latest 5: point 3; back 1 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: 1 complete; verify 5: 2 missing points; content 5: 2 missing points; prune 5: refused; latest 5: point 3; back 1 of 3; run 5: 1 complete; next 5: the new point", do: gone(true, 0, 1)},
		{name: "the newest two points withheld from a reader without configuration", with: apart, want: "points 0: 1 complete; verify 0: nothing; content 0: nothing; renew 5; prune 5; latest 0: point 1; back 1 of 3; run 5: 1 complete; next 0: the new point", inDir: "points 0: 1 complete; verify 0: nothing; content 0: nothing; prune 5: refused; latest 0: point 1; back 1 of 3; run 5: 1 complete; next 0: the new point", do: gone(true, 1, 2)},
		{name: "all points withheld from a reader without configuration", with: apart, want: "points 0: nothing; verify 0: nothing; content 0: nothing; renew 5; prune 5; latest 1: 0 files of no point; back 0 of 3; run 5: 1 complete; next 0: the new point", inDir: "points 0: nothing; verify 0: nothing; content 0: nothing; prune 5: refused; latest 1: 0 files of no point; back 0 of 3; run 5: 1 complete; next 0: the new point", do: gone(true, 0, 1, 2)},
		{name: "the middle point and the placements withheld from a reader without configuration", with: apart, want: "points 5: 2 complete; verify 5: 1 missing placements, 1 missing points; content 5: 1 missing placements, 1 missing points; renew 5; prune 5; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: 2 complete; verify 5: 1 missing placements, 1 missing points; content 5: 1 missing placements, 1 missing points; prune 5: refused; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", do: func(s *stage) {
			gone(true, 1)(s)
			s.take(s.names(format.PrefixPlacements)...)
		}},
		{name: "the middle point withheld from a machine without its cache", with: apart, want: "points 5: 2 complete; verify 5: 1 missing points; content 5: 1 missing points; renew 5; prune 5; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", inDir: "points 5: 2 complete; verify 5: 1 missing points; content 5: 1 missing points; prune 5: refused; latest 5: point 3; back 2 of 3; run 5: 1 complete; next 5: the new point", do: func(s *stage) {
			gone(false, 1)(s)
			s.ok(os.RemoveAll(s.path("cache")))
		}},
	}
}

// oldKeyRows are what a thief does with a host key that was rotated away.
func oldKeyRows() []tampering {
	signed := func(before bool, more ...string) func(*stage) {
		return func(s *stage) {
			at := time.Now()
			was := changeKeys(s, more...)
			craftCommit(s, bend{keyed: was, commit: func(c *format.Commit) {
				if before {
					c.SignedAt = format.At(at.UTC().Truncate(time.Second))
				}
			}})
		}
	}
	return []tampering{
		{name: "a point of the old key", want: "points 0: 2 complete, 1 complete distrusted; verify 4: 1 tampered points; content 4: 1 tampered points; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: signed(false)},
		{name: "a point of the old key, said to be from before", want: "points 0: 2 complete, 1 complete distrusted; verify 4: 1 tampered points; content 4: 1 tampered points; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: signed(true)},
		{name: "the old host key put back", want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 2: 1 failed; next 0: not the new point", do: func(s *stage) {
			was := changeKeys(s)
			s.ok(os.Remove(s.path("host.key")))
			s.ok(keys.WriteHostKeyFile(s.path("host.key"), was))
		}},
		{name: "placements of the old key", want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			s.place(changeKeys(s), vaultName(0), vaultName(0), 0, nowhere())
		}},
		{name: "a change of keys by the old key", with: stageOptions{orphan: true}, want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: func(s *stage) {
			was := changeKeys(s)
			s.put(followingPoint(s, nil, nil, was.Signing))
		}},
	}
}

// replayedRows are real objects under names that are not their own.
func replayedRows() []tampering {
	again := func(prefix string, rename func(name string) string) func(*stage) {
		return func(s *stage) {
			names := s.names(prefix)
			name := names[len(names)-1]
			nextSecond(time.Now().Truncate(time.Second))
			s.put(rename(name), s.read(name))
		}
	}
	later := func(name string) string {
		dir, file := filepath.Split(name)
		_, rest, _ := strings.Cut(file, "-")
		return dir + time.Now().UTC().Format("20060102T150405Z") + "-" + rest
	}
	elsewhere := func(dir string) func(string) string {
		return func(name string) string { return dir + filepath.Base(name) }
	}
	return []tampering{
		{name: "a point under a later time", want: "points 4: 2 complete; verify 4: 1 tampered points; content 4: 1 tampered points; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: again("points/", later)},
		{name: "a point under another source", want: "points 4: 2 complete; verify 4: 1 tampered points; content 4: 1 tampered points; renew 4; prune 4; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: again("points/", elsewhere("points/other/"))},
		{name: "a point in a folder below", want: "points 4: 2 complete; verify 4: 1 tampered points; content 4: 1 tampered points; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: again("points/", elsewhere("points/site/below/"))},
		{name: "placements under a later time", want: "points 4: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; renew 4; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; prune 4; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: again("placements/", later)},
		{name: "placements under another vault", want: "points 0: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: again("placements/", elsewhere("placements/second/"))},
		{name: "placements of nobody's key", want: "points 4: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; renew 4; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; prune 4; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) { s.place(thief(), vaultName(0), vaultName(0), 0, nowhere()) }},
		{name: "placements that say another vault", want: "points 4: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; renew 4; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; prune 4; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) { s.place(s.host, vaultName(0), vaultName(1), 0, nowhere()) }},
		{name: "placements that say another time", want: "points 4: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; renew 4; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; prune 4; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) { s.place(s.host, vaultName(0), vaultName(0), time.Second, nowhere()) }},
		{name: "a vault that was copied later", dated: true, want: "points 0: 2 complete late; verify 0: nothing; content 0: nothing; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) { arriveLater(s) }},
		{name: "a vault that was copied later, after a rotation", dated: true, want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			changeKeys(s)
			arriveLater(s)
		}},
		{name: "a pack under another's name", want: "points 0: 2 complete; verify 4: 2 tampered packs; content 4: 2 tampered packs; renew 0; prune 0; latest 4: point 2; back 2 of 2; run 0: 1 complete; next 4: the new point", inDir: "points 0: 2 complete; verify 5: 2 damaged packs; content 5: 5 damaged packs; prune 5; latest 3: 0 files of no point; back 0 of 2; run 5: 1 complete; next 0: the new point", do: func(s *stage) {
			names := s.names("packs/")
			a, b := names[0], names[len(names)-1]
			x, y := s.read(a), s.read(b)
			s.put(a, y)
			s.put(b, x)
		}},
	}
}

// movedRows are what else honest keys signed, where it does not belong. On a server a copy has versions of its own: those that placements
// name are gone, and whoever goes by placements says so once, though every object is there.
func movedRows() []tampering {
	return []tampering{
		{name: "a moved vault", want: "points 5: 2 complete; verify 0: nothing; content 0: nothing; renew 5; prune 0; latest 0: point 2; back 2 of 2; run 5: 1 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 0: nothing; content 0: nothing; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) { s.move(stageOptions{}) }},
		{name: "a moved vault after a rotation", want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 5: 1 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 0: nothing; content 0: nothing; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			changeKeys(s)
			s.move(stageOptions{})
		}},
		{name: "a moved vault with a point of the old key", want: "points 0: 2 complete, 1 complete distrusted; verify 4: 1 tampered points; content 4: 1 tampered points; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 5: 1 complete; next 0: the new point", inDir: "points 0: 2 complete, 1 complete distrusted; verify 4: 1 tampered points; content 4: 1 tampered points; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{keyed: changeKeys(s)})
			s.move(stageOptions{})
		}},
		{name: "twin signatures", want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			changeKeys(s)
			r, p, _ := commitOfNewest(s)
			body := s.read(p.Name)
			s.put(signPoint(s.host.Signing, r.ID, p.Source, p.SignedAt, body), body)
		}},
		{name: "placements of another vault", with: stageOptions{vaults: 2}, want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 2 complete; next 0: the new point", do: func(s *stage) {
			s.place(s.host, vaultName(1), vaultName(1), 0, nowhere())
		}},
		{name: "placements of another vault alone", with: stageOptions{vaults: 2}, want: "points 5: 2 complete; verify 0: nothing; content 0: nothing; renew 5; prune 0; latest 0: point 2; back 2 of 2; run 5: 2 complete; next 0: the new point", inDir: "points 0: 2 complete; verify 0: nothing; content 0: nothing; prune 0; latest 0: point 2; back 2 of 2; run 0: 2 complete; next 0: the new point", do: func(s *stage) {
			theirs := &stage{t: s.t, srv: s.srv, vaults: s.vaults[1:]}
			s.take(s.names(format.PrefixPlacements)...)
			for _, name := range theirs.names(format.PrefixPlacements) {
				s.put(name, theirs.read(name))
			}
			s.ok(os.RemoveAll(s.path("cache")))
		}},
		{name: "a record of a later version", with: stageOptions{reporter: true}, want: "points 0: 2 complete; verify 0: nothing, 3 records; content 0: nothing, 4 records; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			s.report(func(b []byte) []byte { return alienBody(inHead("2", false)(b)) })
		}},
		{name: "a record with a feature", with: stageOptions{reporter: true}, want: "points 0: 2 complete; verify 0: nothing, 3 records; content 0: nothing, 4 records; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			s.report(func(b []byte) []byte { return alienBody(inHead(format.Version, true)(b)) })
		}},
		{name: "an index segment of a later version", want: "points 0: 2 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			s.place(s.host, vaultName(0), vaultName(0), 0, sealedMeta(s, segmentOf(s, inHead("2", false))))
		}},
	}
}
