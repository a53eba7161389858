package main

import "testing"

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"": "''", "a/b.c": "a/b.c", "a b": "'a b'", "it's": `'it'\''s'`, "s3://b?x&y": "'s3://b?x&y'", "$x": "'$x'"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestRestoreLine(t *testing.T) {
	for in, want := range map[string]string{"site": "holdfast restore site@latest --to ./site", "--to": "holdfast restore --to ./--to -- --to@latest"} {
		if got := restoreLine(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
