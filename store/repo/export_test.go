package repo

import "context"

// EndPlacements writes placements as a commit does.
func (s *Session) EndPlacements(ctx context.Context) error { return s.placing.endAll(ctx) }
