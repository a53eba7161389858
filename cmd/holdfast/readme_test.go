package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/programs"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// readmeStep gives the blocks of one step of the README's set-up, in order, each with its first line: the language and a name.
func readmeStep(t *testing.T, number int) (heads, blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`(?m)^### (\d+)\. .*$`).Split(string(text), -1)
	if len(parts) <= number {
		t.Fatalf("the README has no step %d", number)
	}
	for _, m := range regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(parts[number], -1) {
		heads, blocks = append(heads, m[1]), append(blocks, m[2])
	}
	return heads, blocks
}

// pasted gives the blocks of a step whose first line is one of heads.
func pasted(t *testing.T, number int, heads ...string) string {
	t.Helper()
	var out []string
	have, blocks := readmeStep(t, number)
	for i, h := range have {
		for _, want := range heads {
			if h == want {
				out = append(out, blocks[i])
			}
		}
	}
	if len(out) == 0 {
		t.Fatalf("step %d has no block %q; it has %q", number, heads, have)
	}
	return strings.Join(out, "\n")
}

// TestReadme pastes the README's set-up: keys, users with their policies, configuration, init, run and the drill, as they
// stand there, with a vault at MinIO and at versitygw.
func TestReadme(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			if kind == servers.KindVersityGW {
				programs.Need(t, "aws")
				programs.Need(t, "jq")
			}
			pasteReadme(t, shared.Get(t, kind), shared.Get(t, servers.KindVersityGW))
		})
	}
}

func pasteReadme(t *testing.T, vault, primary *servers.Server) {
	dir := t.TempDir()
	source, err := primary.MakeBucket(t.Context(), servers.BucketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "tmp/x"} {
		if _, err := primary.Admin().PutObject(t.Context(), source, name, strings.NewReader("content"), 7, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{
		"PATH=" + tools(t, vault.Kind) + ":" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CACHE_HOME=" + dir + "/cache", "CREDENTIALS_DIRECTORY=" + dir, "AWS_EC2_METADATA_DISABLED=true",
		"PRIMARY_BUCKET=" + source, "PRIMARY_REGION=" + servers.Region + "&endpoint=" + primary.Endpoint,
		"VAULT_BUCKET=vault-of-readme", "VAULT_REGION=" + servers.Region, "VAULT_ENDPOINT=" + vault.Endpoint, "VAULT_VENDOR=" + string(vault.Kind),
		"ROOT_ACCESS_KEY=" + vault.Root.AccessKeyID, "ROOT_SECRET_KEY=" + vault.Root.SecretAccessKey, "ADMIN_ENDPOINT=" + vault.AdminEndpoint(),
		"MC_CONFIG_DIR=" + dir + "/mc", "AWS_SHARED_CREDENTIALS_FILE=" + dir + "/admin",
	}
	key := func(profile, id, secret string) string {
		return fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, id, secret)
	}
	for name, text := range map[string]string{
		"admin":                     key("vault-admin", vault.Root.AccessKeyID, vault.Root.SecretAccessKey),
		"source-reader.credentials": key("default", primary.Root.AccessKeyID, primary.Root.SecretAccessKey),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	users := "text users-" + string(vault.Kind)
	script := []string{pasted(t, 1, "sh")}
	bucket, policies := cutStep2(t)
	if _, err := programs.Find("aws"); err == nil {
		script = append(script, bucket)
	} else if err := vault.Admin().MakeBucket(t.Context(), "vault-of-readme", minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	if vault.Kind == servers.KindMinIO {
		script = append(script, `mc alias set vault "$VAULT_ENDPOINT" "$ROOT_ACCESS_KEY" "$ROOT_SECRET_KEY"`)
	}
	script = append(script, policies, pasted(t, 2, users), pasted(t, 4, "sh"), pasted(t, 5, "sh"), pasted(t, 7, "sh"),
		`HOLDFAST_READER_ACCESS_KEY_ID=$(sed -n 's/aws_access_key_id = //p' vault-reader.credentials)`,
		`HOLDFAST_READER_SECRET_ACCESS_KEY=$(sed -n 's/aws_secret_access_key = //p' vault-reader.credentials)`,
		pasted(t, 9, "sh drill"), `test "$(cat restored/a/b)" = content`, `test ! -e restored/tmp`,
		`holdfast verify --level locks --vault offsite --credentials env:HOLDFAST_READER --json | tail -n 1 | grep '"owners":2'`)
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-c", strings.Join(script, "\n"))
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// cutStep2 tells the block that makes the bucket from the one that prints policies.
func cutStep2(t *testing.T) (bucket, policies string) {
	t.Helper()
	heads, blocks := readmeStep(t, 2)
	for i, b := range blocks {
		switch {
		case heads[i] == "sh" && strings.Contains(b, "create-bucket"):
			bucket += b
		case heads[i] == "sh":
			policies += b
		}
	}
	if bucket == "" || policies == "" {
		t.Fatal("step 2 does not make a bucket, or no policies")
	}
	return bucket, policies
}

// tools is a folder with the programs by their plain names that the README's commands for a server call.
func tools(t *testing.T, kind servers.Kind) string {
	t.Helper()
	dir := t.TempDir()
	name := map[servers.Kind]string{servers.KindMinIO: "mc", servers.KindVersityGW: "versitygw"}[kind]
	bin, err := servers.Binary(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if aws, err := programs.Find("aws"); err == nil {
		if err := os.Symlink(aws, filepath.Join(dir, "aws")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
