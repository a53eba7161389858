package s3store

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// Inspect implements store.Inspector: two bucket requests that change nothing, and the clock from the Date header of one
// of them, which is whole seconds. Facts.Immutable says what the bucket claims; only a lock read back after a Put proves it.
func (s *Store) Inspect(ctx context.Context) (store.Facts, error) {
	var (
		clock     time.Time
		sent, got time.Time
	)
	look := func(resp *http.Response, at time.Time) {
		if d, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			clock, sent, got = d.UTC(), at, time.Now()
		}
	}
	client, err := s.newClient(&tap{next: s.limited, after: look})
	if err != nil {
		return store.Facts{}, s.fail(ctx, "inspect", store.Ref{}, err)
	}
	versioning, err := client.GetBucketVersioning(ctx, s.loc.Bucket)
	f := store.Facts{Clock: clock, Offset: clock.Sub(sent.Add(got.Sub(sent) / 2).Round(0))}
	if err != nil {
		return f, s.fail(ctx, "inspect", store.Ref{}, fmt.Errorf("read versioning: %w", err))
	}
	if clock.IsZero() {
		return store.Facts{}, s.fail(ctx, "inspect", store.Ref{}, errors.New("the vault sends no Date header, so there is no clock to lock by"))
	}
	f.Versioning = versioning.Enabled()
	// A server that knows no object lock may say so, or answer with something else altogether, such as a listing.
	enabled, mode, validity, unit, err := client.GetObjectLockConfig(ctx, s.loc.Bucket)
	_, senseless := errors.AsType[xml.UnmarshalError](err)
	switch resp := minio.ToErrorResponse(err); {
	case err == nil:
		f.ObjectLock = enabled == "Enabled"
	case senseless, saysNoLock(resp):
	default:
		return f, s.fail(ctx, "inspect", store.Ref{}, fmt.Errorf("read object lock configuration: %w", err))
	}
	f.Immutable = f.ObjectLock && f.Versioning
	if mode != nil && mode.IsValid() && validity != nil && unit != nil {
		if f.Default, err = defaultRetention(clock, *mode, *validity, *unit); err != nil {
			return store.Facts{}, s.fail(ctx, "inspect", store.Ref{}, err)
		}
	}
	return f, nil
}

func defaultRetention(clock time.Time, mode minio.RetentionMode, validity uint, unit minio.ValidityUnit) (store.Retention, error) {
	const maxYears = 1000
	if validity > maxYears*366 {
		return store.Retention{}, fmt.Errorf("default retention of %d %s", validity, unit)
	}
	r := store.Retention{Mode: store.Governance, Until: clock.AddDate(0, 0, int(validity))}
	if mode == minio.Compliance {
		r.Mode = store.Compliance
	}
	if unit == minio.Years {
		r.Until = clock.AddDate(int(min(validity, maxYears)), 0, 0)
	}
	return r, nil
}
