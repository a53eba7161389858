package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxReport bounds what is read of one; larger ones are compared by their sizes.
const maxReport = 16 << 20

// reports looks for reports that were overwritten or hidden. New ones are let be: anybody may add evidence.
func (r *reporting) reports(ctx context.Context) error {
	at := &listing{ctx: ctx, in: r.o.In, passed: func(name string, g group) error { return r.report(ctx, name, g) }}
	defer at.close()
	return at.drain(format.PrefixReports)
}

// records follows the count of each reporter: a record that was taken away, doubled or changed is found.
func (r *reporting) records(ctx context.Context) error {
	return evidence.Read(ctx, evidence.Options{
		Vault: r.o.In, Repository: r.o.Repository.ID, Key: r.o.Repository.Keys().Reporter,
		Report: func(f evidence.Finding) {
			kind := repo.Tampered
			if f.Kind == evidence.Missing {
				kind = repo.Missing
			}
			r.find(kind, f.Name, format.Hash{}, "%s", f.Detail)
		},
		Each: func(evidence.Found) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sum.Records++
			return nil
		},
	})
}

func (r *reporting) report(ctx context.Context, name string, g group) error {
	if g.markers == 0 && g.versions < 2 {
		return nil
	}
	if g.versions == 0 {
		r.find(repo.Tampered, name, format.Hash{}, "%d delete markers, and no report below them", g.markers)
		return nil
	}
	first := g.kept[len(g.kept)-1]
	other := g.versions - len(g.kept) // more than anybody repeats
	want, err := r.reportSum(ctx, first)
	if err != nil {
		return r.checks.passOver(ctx, err)
	}
	for _, info := range g.kept[:len(g.kept)-1] {
		if info.Size != first.Size {
			other++
			continue
		}
		got, err := r.reportSum(ctx, info)
		if err != nil {
			if err := r.checks.passOver(ctx, err); err != nil {
				return err
			}
		}
		if err != nil || got != want {
			other++
		}
	}
	if other == 0 && g.markers == 0 {
		return nil // the same put several times: a repeated request
	}
	detail := fmt.Sprintf("%d versions with other bytes and %d delete markers lie on a report", other, g.markers)
	if first.Version != "" {
		detail += "; what was stored first is version " + first.Version
	}
	r.find(repo.Tampered, name, format.Hash{}, "%s", detail)
	return nil
}

// reportSum hashes one version of a report.
func (r *reporting) reportSum(ctx context.Context, info store.Info) (format.Hash, error) {
	body, err := r.o.In.Open(ctx, info.Ref, 0, -1)
	if err != nil {
		return format.Hash{}, err
	}
	defer body.Close()
	h := sha256.New()
	_, err = io.Copy(h, io.LimitReader(body, min(info.Size, maxReport)))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // shorter than listed, and so other bytes
	}
	return format.Hash(h.Sum(nil)), err
}
