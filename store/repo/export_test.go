package repo

import "context"

// EndPlacements writes placements as a commit does.
func (s *Session) EndPlacements(ctx context.Context) error { return s.placing.endAll(ctx) }

// What sessions and CheckAllListed do for one source.
var (
	CheckFollowed = checkFollowed
	CheckListed   = checkListed
)
