package guard

import (
	"hash/maphash"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxExt is how long an extension may be. What follows the last dot of longer names is none.
const maxExt = 16

// extension is what follows the last dot of a name, in lower case; empty where there is none.
func extension(key string) string {
	name := key[strings.LastIndexByte(key, '/')+1:]
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || i == len(name)-1 || len(name)-i-1 > maxExt {
		return ""
	}
	for j := i + 1; j < len(name); j++ {
		if 'A' <= name[j] && name[j] <= 'Z' {
			return strings.ToLower(name[i+1:])
		}
	}
	return name[i+1:]
}

// folder is all of a key up to its last slash.
func folder(key string) string { return key[:strings.LastIndexByte(key, '/')+1] }

// prefixes are the first folder of a key, and the first two.
func prefixes(key string) (one, two string) {
	i := strings.IndexByte(key, '/')
	if i < 0 {
		return "", ""
	}
	one = key[:i+1]
	if j := strings.IndexByte(key[i+1:], '/'); j >= 0 {
		return one, key[:i+j+2]
	}
	return one, one
}

// dated reports whether a suffix counts or dates, as rotation gives them: ".1", "-20261130", ".2026-11-30.gz".
func dated(suffix string) bool {
	for _, packed := range []string{".gz", ".xz", ".zst", ".bz2"} {
		suffix = strings.TrimSuffix(suffix, packed)
	}
	return strings.Trim(suffix, "0123456789-_.:TZ") == ""
}

// sample keeps what it is given under random numbers, all of it as long as that is little, then half, then a quarter: those
// with small numbers, so that two samples of the same numbers can be held against each other.
type sample[T any] struct {
	of    map[uint64]T
	limit uint64 // larger numbers are left out
	total int64  // that were given
}

const maxSample = 1 << 14

func (s *sample[T]) put(n uint64, v T) {
	s.total++
	if s.of == nil {
		s.of, s.limit = map[uint64]T{}, ^uint64(0)
	}
	if n > s.limit {
		return
	}
	s.of[n] = v
	for len(s.of) > maxSample {
		s.limit /= 2
		for k := range s.of {
			if k > s.limit {
				delete(s.of, k)
			}
		}
	}
}

// scale is how many there are for each that was kept.
func (s *sample[T]) scale() float64 {
	if len(s.of) == 0 {
		return 1
	}
	return max(1, float64(s.total)/float64(len(s.of)))
}

// numbers gives keys and contents their random numbers, which are the same throughout a run.
type numbers struct{ seed maphash.Seed }

func (n numbers) key(key string) uint64 { return maphash.String(n.seed, key) }

func (n numbers) content(sum format.Hash) uint64 { return maphash.Bytes(n.seed, sum[:]) }
