package main

import (
	"bytes"
	"os"
	"testing"
)

// TestByHandScript: the script that the program prints is the one in docs.
func TestByHandScript(t *testing.T) {
	want, err := os.ReadFile("../../docs/restore-by-hand.sh")
	if err != nil {
		t.Fatal(err)
	}
	got, err := byHandScript()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("copy docs/restore-by-hand.sh to cmd/holdfast/worstday (%v)", err)
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"": "''", "a/b.c": "a/b.c", "a b": "'a b'", "it's": `'it'\''s'`, "s3://b?x&y": "'s3://b?x&y'", "$x": "'$x'"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
