package status_test

import (
	"bytes"
	"context"
	"io"

	"github.com/holdfast-backup/holdfast/store"
)

// without gives other bytes for one object.
type without struct {
	store.Reader
	name string
}

func (w without) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if ref.Name == w.name {
		return io.NopCloser(bytes.NewReader([]byte("other"))), nil
	}
	return w.Reader.Open(ctx, ref, off, n)
}
