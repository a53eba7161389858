// Package guard looks at what a run saw and says whether somebody has to look at it: content that turned into noise, names
// that got a suffix, more deleted than ever before, a tripwire that was touched.
package guard
