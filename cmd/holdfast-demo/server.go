package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pkg/xattr"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// serveArgument as the first argument makes this program an S3 server and nothing else: versitygw runs once a process and
// changes the working directory, so every server is this program started again.
const serveArgument = "serve-s3"

// account is an access key and its secret.
type account struct{ ID, Secret string }

// serverSpec is what a server is told, as JSON on its standard input, where no other user of the machine can read it.
type serverSpec struct {
	Dir   string // holds all its data
	Addr  string // host:port
	Root  account
	Users []account // without any right until a bucket policy gives them one
}

// serve runs one S3 server until standard input ends, which it does when the demo ends, however it ends.
func serve(in io.Reader) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // ^C reaches the whole terminal; the demo decides when its servers stop
	var spec serverSpec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, in)
	}()
	return spec.serve(ctx)
}

func (s serverSpec) serve(ctx context.Context) error {
	root := auth.Account{Access: s.Root.ID, Secret: s.Root.Secret, Role: auth.RoleAdmin}
	dirs := make(map[string]string)
	for _, name := range []string{"data", "versions", "users", "meta"} {
		dirs[name] = filepath.Join(s.Dir, name)
		if err := os.MkdirAll(dirs[name], 0o700); err != nil {
			return err
		}
	}
	users, err := auth.NewInternal(root, dirs["users"])
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	for _, u := range s.Users {
		err := users.CreateAccount(auth.Account{Access: u.ID, Secret: u.Secret, Role: auth.RoleUser})
		if err != nil && !errors.Is(err, auth.ErrUserExists) {
			return fmt.Errorf("make user %s: %w", u.ID, err)
		}
	}
	be, err := backend(dirs)
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: s.Root.ID,
		RootUserSecret: s.Root.Secret,
		Region:         region,
		Ports:          []string{s.Addr},
		IAMService:     auth.NewCache(users, time.Hour, time.Hour),
		MaxConnections: 4096, MaxRequests: 4096, MultipartMaxParts: 10000,
		Quiet: true, KeepAlive: true,
	})
}

// backend keeps objects as files, their headers in extended attributes or, where the file system has none, in files.
func backend(dirs map[string]string) (*posix.Posix, error) {
	opts := posix.PosixOpts{VersioningDir: dirs["versions"], Concurrency: 512, CopyObjectThreshold: 5 << 30}
	var headers meta.MetadataStorer = meta.XattrMeta{}
	const probe = "user.holdfast-demo"
	if err := xattr.Set(dirs["data"], probe, []byte("1")); err == nil {
		if err := xattr.Remove(dirs["data"], probe); err != nil {
			return nil, err
		}
	} else {
		side, err := meta.NewSideCar(dirs["meta"])
		if err != nil {
			return nil, err
		}
		headers, opts.SideCarDir = side, dirs["meta"]
	}
	return posix.New(dirs["data"], headers, opts)
}
