package synthetic

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"strings"
)

// Shape is a formula for keys: the i-th of Len, each greater in its bytes than the one before.
type Shape struct {
	Len int64
	Key func(i int64) string
}

// Search gives the first i whose key is at or after key, Len if there is none: computed by halving, never by counting up.
func (s Shape) Search(key string) int64 {
	return int64(sort.Search(int(s.Len), func(i int) bool { return s.Key(int64(i)) >= key }))
}

// Flat is n keys side by side, as of an application that numbers its objects.
func Flat(n int64) Shape {
	w := width(n)
	return Shape{n, func(i int64) string { return "object-" + digits(i, w) }}
}

// Deep is n keys in folders of fanout entries each, levels deep.
func Deep(n int64, fanout int64, levels int) Shape {
	w := width(fanout)
	return Shape{n, func(i int64) string {
		at := make([]int64, levels+1)
		for l := levels; l > 0; l-- {
			at[l], i = i%fanout, i/fanout
		}
		at[0] = i // the top folder takes what the levels do not hold
		var b strings.Builder
		b.WriteString("top-" + digits(at[0], width(n)))
		for l, d := range at[1:] {
			b.WriteByte('/')
			b.WriteString([]string{"year", "month", "day", "part"}[l%4])
			b.WriteByte('-')
			b.WriteString(digits(d, w))
		}
		return b.String()
	}}
}

// Skewed is n keys in folders that each hold about half of what is left, each one level deeper than the one before: no cut
// by folders is an even one.
func Skewed(n int64) Shape {
	w := width(n)
	return Shape{n, func(i int64) string {
		left := n - i                                              // n for the first key, 1 for the last
		folder := bits.Len64(uint64(n)) - bits.Len64(uint64(left)) // 0 holds those of the largest power of two
		return fmt.Sprintf("%02d%s/item-%s", folder, strings.Repeat("/in", folder), digits(i, w))
	}}
}

// Keys is a list of keys in any order, each once.
func Keys(keys ...string) Shape {
	list := slices.Compact(slices.Sorted(slices.Values(keys)))
	return Shape{int64(len(list)), func(i int64) string { return list[i] }}
}

// Join puts shapes one behind the other, the i-th under prefixes[i]. Prefixes must be in order and none begin with another.
func Join(prefixes []string, shapes []Shape) Shape {
	ends := make([]int64, len(shapes))
	total := int64(0)
	for i, s := range shapes {
		total += s.Len
		ends[i] = total
	}
	return Shape{total, func(i int64) string {
		p, _ := slices.BinarySearch(ends, i+1)
		return prefixes[p] + shapes[p].Key(i-ends[p]+shapes[p].Len)
	}}
}

// width is how many digits the numbers below n need.
func width(n int64) int { return len(fmt.Sprint(max(n-1, 0))) }

// digits is i with leading zeros.
func digits(i int64, width int) string {
	b := make([]byte, width)
	for p := width - 1; p >= 0; p-- {
		b[p], i = byte('0'+i%10), i/10
	}
	return string(b)
}
