package main

import "testing"

func TestMarkdown(t *testing.T) {
	for in, want := range map[string]string{
		"a * b_c <d>":                    `a \* b\_c \<d>`,
		"see `a_b *` and c_d":            "see `a_b *` and c\\_d",
		"so `x_y\nz_` w_":                "so `x_y\nz_` w\\_",
		"text:\n  list_ a\n  b\n\nmore*": "text:\n\n      list_ a\n      b\n\nmore\\*",
		"\n  first\n":                    "\n      first\n",
	} {
		if got := markdown(in); got != want {
			t.Errorf("%q: %q instead of %q", in, got, want)
		}
	}
}
