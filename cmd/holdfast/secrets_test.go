package main

import (
	"slices"
	"strings"
	"testing"
)

// TestSecretsOf: what must not be said is known by its name or its form, and nothing else is.
func TestSecretsOf(t *testing.T) {
	key := "AGE-SECRET-KEY-1QQPQYQZQFPQYQZQFPQYQZQF"
	got := secretsOf([]string{
		"X_SECRET_ACCESS_KEY=verysecretvalue", "PGPASSWORD=anotherpassword", "AWS_SESSION_TOKEN=sessiontoken", "SHORT_SECRET=secret", "HOME=/home/somebody",
		"AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/secrets/token", "https_proxy=http://user:proxypassword@proxy:3128", "HTTP_PROXY=user:halfaproxy@%zz", "NO_PROXY=a@b",
	}, []string{"restore", "-i", key})
	for _, want := range []string{"verysecretvalue", "anotherpassword", "sessiontoken", "proxypassword", "user:halfaproxy", key} {
		if !slices.Contains(got, want) {
			t.Errorf("%s would be said", want)
		}
	}
	for _, not := range []string{"secret", "/home/somebody", "/var/run/secrets/token"} {
		if slices.Contains(got, not) {
			t.Errorf("%s would not be said", not)
		}
	}
	if said := hidden("no AGE-SECRET-KEY-PQ-1QQPQYQZQFPQYQZQFPQYQZQF, please", nil); said != "no [hidden], please" {
		t.Errorf("a post-quantum key is said: %s", said)
	}
	said := hidden("cannot use verysecretvalue, "+strings.ToLower(key)+" or AGE-PLUGIN-YUBIKEY-1QQPQYQZQFPQ at /var/run/secrets/token", got)
	if said != "cannot use [hidden], [hidden] or [hidden] at /var/run/secrets/token" {
		t.Errorf("%s", said)
	}
}

// TestNoSecrets: what is refused on a command line, and what only looks a little like it.
func TestNoSecrets(t *testing.T) {
	for _, bad := range []string{
		"AGE-SECRET-KEY-PQ-1ABCDEF", "-iage-secret-key-1abcdef", "--identity=AGE-SECRET-KEY-1ABC", "AGE-PLUGIN-TPM-1QQ", "holdfast-host-key-1", "-----BEGIN OPENSSH PRIVATE KEY-----",
		"s3://key:secret@bucket", "--vault=https://user@host/x", "s3://b?endpoint=https://h&secret_access_key=x", "s3://b?X-Amz-Signature=abc",
		"AKIAABCDEFGHIJKLMNOP:wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
	} {
		if err := noSecrets([]string{"run", bad}); err == nil || strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "argument 2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, good := range []string{
		"restore-1.key", "s3://bucket/prefix?endpoint=https://s3.example.com&region=eu", "file:///srv/a@b", "uploads@latest", "docs/**", "env:AKIA", "ebs://eu-west-1?tag=token:yes",
		"age1pq1qqqqqqqqqqqqqqqqqqqq", "uploads@2026-11-22T08:00:00Z", "0123456789abcdef0123456789abcdef01234567", "mail@example.com/secret.txt",
	} {
		if err := noSecrets([]string{good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
