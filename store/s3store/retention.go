package s3store

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// maxRetention bounds the answer to GetObjectRetention, which is some 150 bytes.
const maxRetention = 16 << 10

// lockByRequest asks for the lock of one version where HEAD showed none. Two things hide a lock from HEAD: versitygw
// leaves it out for every version but the newest, and AWS does for callers without GetObjectRetention, who learn that
// they are denied here instead of hearing "no lock". The answer is read by us, as versitygw gives its root element a
// name that minio-go does not take; one that makes no sense at all is no lock, which claims too little and never too much.
func (s *Store) lockByRequest(ctx context.Context, key, version string) (store.Retention, error) {
	var answer []byte
	copyBody := func(resp *http.Response, _ time.Time) {
		if resp.StatusCode != http.StatusOK {
			return
		}
		// A broken read leaves half an answer, which then makes no sense, and minio-go's own reading reports why.
		answer, _ = io.ReadAll(io.LimitReader(resp.Body, maxRetention))
		rest := resp.Body
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(answer), io.LimitReader(rest, 0)), rest}
	}
	client, err := s.newClient(&tap{next: s.limited, after: copyBody})
	if err != nil {
		return store.Retention{}, err
	}
	_, _, err = client.GetObjectRetention(ctx, s.loc.Bucket, key, version)
	if answer != nil {
		return parseRetention(answer), nil
	}
	if resp, ok := errors.AsType[minio.ErrorResponse](err); ok && saysNoLock(resp) {
		return store.Retention{}, nil
	}
	return store.Retention{}, err
}

// parseRetention takes any root element.
func parseRetention(answer []byte) store.Retention {
	var r struct {
		Mode            string
		RetainUntilDate string
	}
	if err := xml.Unmarshal(answer, &r); err != nil {
		return store.Retention{}
	}
	h := http.Header{}
	h.Set("X-Amz-Object-Lock-Mode", r.Mode)
	h.Set("X-Amz-Object-Lock-Retain-Until-Date", r.RetainUntilDate)
	lock, err := lockFrom(h)
	if err != nil {
		return store.Retention{}
	}
	return lock
}

// saysNoLock tells an object or a bucket without a lock, which is an error to S3, from a real failure.
func saysNoLock(r minio.ErrorResponse) bool {
	switch r.Code {
	case "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed":
		return true
	}
	return saysNoLocks(r)
}
