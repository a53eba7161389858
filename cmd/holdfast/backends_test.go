package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
)

func testBackends(vars map[string]string) *backends {
	u, _, _ := testUI()
	env := func(n string) (string, bool) { v, ok := vars[n]; return v, ok }
	return &backends{ui: u, env: env, connections: 4, rate: meter.New(meter.Options{})}
}

func at(t *testing.T, url string) location.Location {
	t.Helper()
	l, err := location.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ref(t *testing.T, text string) credentials.Ref {
	t.Helper()
	r, err := credentials.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDirectoryVault(t *testing.T) {
	dir := t.TempDir()
	b := testBackends(nil)
	if err := os.Mkdir(filepath.Join(dir, "vault"), 0o700); err != nil { // as init does
		t.Fatal(err)
	}
	v, err := b.openVault("disk", at(t, "file://"+dir+"/vault"), credentials.Ref{})
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("content")
	put, err := v.Put(t.Context(), "packs/aa/x.age", bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.Open(t.Context(), put, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if s := v.counted.Snapshot(); s.Asked["put"].Calls != 1 || s.BytesIn != 7 {
		t.Errorf("counted %+v", s)
	}
	if err := v.close(); err != nil {
		t.Error(err)
	}
	if _, ok := any(v).(store.Remover); ok {
		t.Error("an opened vault can delete")
	}
	b.readOnly = true
	if _, err := b.openVault("", at(t, "file://"+dir+"/absent"), credentials.Ref{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a vault that is not there, opened for reading: %v", err)
	}
	if _, err := b.openVault("", at(t, "file://"+dir), ref(t, "env:X")); !errors.Is(err, errUsage) {
		t.Errorf("a directory with credentials: %v", err)
	}
}

// TestBucketVault: credentials arrive, and the one retry layer is there.
func TestBucketVault(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=WRITER/") || !strings.Contains(r.UserAgent(), "holdfast/") {
			t.Errorf("request with %q from %q", r.Header.Get("Authorization"), r.UserAgent())
		}
		w.Header().Set("Last-Modified", "Mon, 02 Nov 2026 15:04:05 GMT")
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Length", "7")
	}))
	defer server.Close()
	b := testBackends(map[string]string{"V_ACCESS_KEY_ID": "WRITER", "V_SECRET_ACCESS_KEY": "s"})
	v, err := b.openVault("offsite", at(t, "s3://acme?region=us-east-1&endpoint="+server.URL), ref(t, "env:V"))
	if err != nil {
		t.Fatal(err)
	}
	info, _, err := v.Stat(t.Context(), store.Ref{Name: "packs/aa/x.age"})
	if err != nil || info.Size != 7 || asked.Load() != 2 {
		t.Errorf("%+v, %v after %d requests", info, err, asked.Load())
	}
	b.env = func(string) (string, bool) { return "", false }
	v, err = b.openVault("offsite", at(t, "s3://acme?region=us-east-1&endpoint="+server.URL), ref(t, "env:V"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Stat(t.Context(), store.Ref{Name: "x"}); !errors.Is(err, credentials.ErrUnset) {
		t.Errorf("without credentials: %v", err)
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := testBackends(nil)
	src, get, err := b.openSource(config.Source{Name: "site", URL: at(t, "file://"+dir)})
	if err != nil || get != nil || src.Kind() != "dir" {
		t.Fatalf("%v, %v", src, err)
	}
	view, err := src.Freeze(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range view.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err := view.Close(); err != nil || n != 2 { // the root and the file
		t.Errorf("%d entries, %v", n, err)
	}
	src, get, err = b.openSource(config.Source{Name: "up", URL: at(t, "s3://acme"), Credentials: ref(t, "env:S"), AllVersions: true, Archived: config.ArchivedFail})
	if err != nil || get == nil || src.Kind() != "s3" {
		t.Errorf("%v, %v", src, err)
	}
}

// TestKinds: what URLs can say and what there are drivers for are the same.
func TestKinds(t *testing.T) {
	_, err := location.Parse("none://x")
	if err == nil {
		t.Fatal("any URL is read")
	}
	said := regexp.MustCompile(`[a-z0-9]+://`).FindAllString(strings.TrimPrefix(err.Error(), `unknown kind of URL "none://"`), -1)
	if len(said) != len(kinds()) {
		t.Errorf("%q are read, and %d have drivers", said, len(kinds()))
	}
	for _, scheme := range said {
		l := location.Location{Kind: location.Kind(strings.TrimSuffix(scheme, "://"))}
		b := kinds()[l.Kind]
		if b.source == nil && b.vault == nil || (b.vault != nil) != l.Vault() || l.Locks() && !l.Vault() || b.attack != nil && !l.Locks() {
			t.Errorf("%s: %+v; a vault: %t, with locks: %t", scheme, b, l.Vault(), l.Locks())
		}
	}
}
