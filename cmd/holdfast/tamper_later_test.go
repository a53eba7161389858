package main

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// laterRows is what a pretended version 2 of the program writes, on this machine, with its keys.
func laterRows() []tampering {
	return []tampering{
		{name: "a point of a later version", want: "points 4: 2 complete, 1 newer; verify 0: nothing; content 4: 1 tampered points; renew 0; prune 0; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{raw: func(b []byte) []byte { return alienBody(inHead("2", false)(b)) }})
		}},
		{name: "a point with a feature", want: "points 4: 2 complete, 1 newer; verify 0: nothing; content 4: 1 tampered points; renew 0; prune 0; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{raw: func(b []byte) []byte { return alienBody(inHead(format.Version, true)(b)) }})
		}},
		{name: "ext on everything", want: "points 0: 3 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{
				lines: func(l []string) []string { return each(l, withExt) },
				root: func(page string) string {
					return strings.Join(each(strings.SplitAfter(strings.TrimSuffix(page, "\n"), "\n"), func(l string) string { return withExt(strings.TrimSuffix(l, "\n") + "\n") }), "")
				},
				need: func(page string) string {
					return strings.Join(each(strings.SplitAfter(strings.TrimSuffix(page, "\n"), "\n"), func(l string) string { return withExt(strings.TrimSuffix(l, "\n") + "\n") }), "")
				},
				raw: func(b []byte) []byte {
					two := strings.SplitAfter(string(b), "\n")
					return []byte(withExt(two[0]) + withExt(two[1]) + "a line of a later version, and no JSON\n")
				},
			})
		}},
		{name: "an entry of an unknown kind", want: "points 0: 3 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 3: point 1; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{lines: func(l []string) []string {
				return append([]string{l[0], `{"kind":"hologram","key":"ghost","size":11,"rays":[1,2],"angle":{"x":1}}` + "\n"}, l[2:]...)
			}})
		}},
		{name: "placements of a later version", want: "points 4: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; renew 4; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point",
			inDir: "points 0: 2 complete; verify 4: 1 tampered placements; content 4: 1 tampered placements; prune 4; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
				r, stored := repositoryOf(s), framed([]byte("{\"format\":\"2\"}\n"))
				s.put(signPlacements(s.host.Signing, r.ID, "first", format.At(time.Now().Truncate(time.Second)), stored), stored)
			}},
		{name: "the owner's descriptor of a later version", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", inDir: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: func(s *stage) {
			s.put(followingPoint(s, nil, inHead("2", false), keys.OwnerKey(s.restore)))
		}},
		{name: "the owner's descriptor with a feature", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", inDir: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: func(s *stage) {
			s.put(followingPoint(s, nil, inHead(format.Version, true), keys.OwnerKey(s.restore)))
		}},
		{name: "an unknown member of the owner's descriptor", want: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", inDir: "points 4: 2 complete; verify 4: 1 tampered descriptors; content 4: 1 tampered descriptors; prune 4: refused; latest 4: point 2; back 2 of 2; run 4: 1 failed; next 4: not the new point", do: func(s *stage) {
			s.put(followingPoint(s, nil, func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `,"number"`, `,"colour":"red","number"`, 1))
			}, keys.OwnerKey(s.restore)))
		}},
	}
}

// madeRows is what a thief of the host key and the writer's makes, or a writer with a fault: all signatures are right.
func madeRows() []tampering {
	swap := func(from, to string) func([]string) []string {
		return func(l []string) []string {
			return each(l, func(line string) string { return strings.Replace(line, from, to, 1) })
		}
	}
	key := func(to string) func(*stage) {
		return func(s *stage) { craftCommit(s, bend{lines: swap(`"key":"later.txt"`, `"key":"`+to+`"`)}) }
	}
	return []tampering{
		{name: "an unknown member of an entry", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: 0 files of no point; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{lines: swap(`"key":"later.txt"`, `"key":"later.txt","colour":"red"`)})
		}},
		{name: "an unknown member of a commit object", want: "points 5: 2 complete, 1 damaged; verify 5: 1 damaged points; content 5: 1 damaged points; renew 5; prune 5: refused; latest 5: point 2; back 2 of 2; run 5: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{raw: func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `,"taken_at"`, `,"colour":"red","taken_at"`, 1))
			}})
		}},
		{name: "an unknown member of its head", want: "points 5: 2 complete, 1 damaged; verify 5: 1 damaged points; content 5: 1 damaged points; renew 5; prune 5: refused; latest 5: point 2; back 2 of 2; run 5: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{raw: func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `,"source":`, `,"colour":"red","source":`, 1))
			}})
		}},
		{name: "an unknown member of a needs list", want: "points 0: 3 complete; verify 5: 1 damaged needs; content 5: 1 damaged needs; renew 5; prune 5: refused; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{need: func(p string) string { return strings.Replace(p, `,"size"`, `,"colour":1,"size"`, 1) }})
		}},
		{name: "a key that leads upwards", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: point 1; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{first: "../later.txt", lines: func(l []string) []string {
				l = swap(`"key":"later.txt"`, `"key":"../later.txt"`)(l)
				return append([]string{l[1], l[0]}, l[2:]...)
			}})
		}},
		{name: "a key with an empty segment", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: point 1; back 2 of 2; run 4: 1 complete; next 0: the new point", do: key("later//txt")},
		{name: "a key with a zero byte", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: point 1; back 2 of 2; run 4: 1 complete; next 0: the new point", do: key(`later\u0000txt`)},
		{name: "an absolute key", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: point 1; back 2 of 2; run 4: 1 complete; next 0: the new point", do: key("/later.txt")},
		{name: "forged totals", want: "points 0: 3 complete; verify 5: 1 damaged points; content 5: 1 damaged points; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{commit: func(c *format.Commit) { c.Entries, c.Bytes = c.Entries+1, c.Bytes+5 }})
		}},
		{name: "a pack left out of the needs list", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged packs; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{needs: func(l []format.Need) (out []format.Need) {
				for i, n := range l {
					if !strings.HasPrefix(n.Name, format.PrefixPacks) || i != indexOfPack(l) {
						out = append(out, n)
					}
				}
				return out
			}})
		}},
		{name: "names out of order", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: 1 files of no point; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{lines: func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }})
		}},
		{name: "a root without its salt", want: "points 0: 3 complete; verify 0: nothing; content 5: 1 damaged meta; renew 0; prune 0; latest 3: 0 files of no point; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{root: func(p string) string { _, rest, _ := strings.Cut(p, "\n"); return rest }})
		}},
		{name: "a point of the future", want: "points 4: 2 complete; verify 4: 1 tampered points; content 4: 1 tampered points; renew 4; prune 4; latest 4: point 2; back 2 of 2; run 4: 1 complete; next 4: the new point", do: func(s *stage) {
			craftCommit(s, bend{commit: func(c *format.Commit) { c.SignedAt = format.At(c.SignedAt.Add(2 * time.Hour)) }})
		}},
		{name: "a point dated back", want: "points 0: 2 complete, 1 complete late; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: point 2; back 2 of 2; run 0: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{commit: func(c *format.Commit) { c.SignedAt = format.At(c.SignedAt.Add(-2 * time.Hour)) }})
		}},
	}
}

func indexOfPack(l []format.Need) int {
	for i, n := range l {
		if strings.HasPrefix(n.Name, format.PrefixPacks) {
			return i
		}
	}
	return -1
}

func each(lines []string, f func(string) string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = f(l)
	}
	return out
}

// emptyRows are points of nothing as another writer may write them.
func emptyRows() []tampering {
	return []tampering{
		{name: "an empty manifest that is nowhere", want: "points 0: 3 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: 0 files of no point; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{needs: withoutPages, commit: func(c *format.Commit) {
				c.Manifest, c.Entries, c.Bytes = format.EmptyTree(format.MetaName(format.Hash{7})), 0, 0
			}})
		}},
		{name: "an empty manifest and empty lists that are nowhere", want: "points 0: 3 complete; verify 0: nothing; content 0: nothing; renew 0; prune 0; latest 0: 0 files of no point; back 2 of 2; run 4: 1 complete; next 0: the new point", do: func(s *stage) {
			craftCommit(s, bend{commit: func(c *format.Commit) {
				c.Manifest, c.Entries, c.Bytes = format.EmptyTree(format.MetaName(format.Hash{7})), 0, 0
				c.Needs, c.Points = format.EmptyTree(format.NeedsName(format.Hash{7})), format.EmptyTree(format.NeedsName(format.Hash{7}))
			}})
		}},
	}
}

// withoutPages leaves objects with pages of the manifest out of a needs list.
func withoutPages(l []format.Need) []format.Need {
	return slices.DeleteFunc(l, func(n format.Need) bool { return len(n.Pages) > 0 })
}
