package doctor

import "testing"

// TestAWSAccount: the account that a published access key belongs to.
func TestAWSAccount(t *testing.T) {
	for id, want := range map[string]string{
		"ASIAY34FZKBOKMUTVV7A": "609629065308", // published with the method
		"AKIAIOSFODNN7EXAMPL8": "", "AKIA": "", "": "", "user0123456789abcdef": "",
	} {
		if got := awsAccount(id); got != want {
			t.Errorf("%s: %q; want %q", id, got, want)
		}
	}
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]string{"a:1": "a", "a": "a", "": "", "[::1]:9000": "[::1]", "[::1]": "[::1]"} {
		if got := hostOf(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
