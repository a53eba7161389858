package awsclient

import "context"

// Pager is one of the SDK's paginators, for service options F and answers O.
type Pager[O any, F any] interface {
	HasMorePages() bool
	NextPage(ctx context.Context, options ...func(*F)) (*O, error)
}

// Pages gives use every page.
func Pages[O any, F any](ctx context.Context, p Pager[O, F], use func(*O) error) error {
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return err
		}
		if err := use(page); err != nil {
			return err
		}
	}
	return nil
}
