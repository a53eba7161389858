package evidence

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Named is what the names of a series of records tell.
type Named struct {
	Reporter string
	Series   format.Time
	Records  int       // different numbers
	Last     int       // the highest number
	Arrived  time.Time // when the record that came last came
}

// Names goes through the records of a vault by their names alone: a listing, and no record is read. It gives each series with its
// last number, reports numbers that nothing has or that two records have, and tells foreign of names under reports/ that no key of the repository
// signed. That records are what their names say, and name one another, only [Read] finds out. Of Options it needs Vault, Repository and
// Key, and takes Reporter and Report.
func Names(ctx context.Context, o Options, foreign func(name string), each func(Named)) error {
	r := &reading{ctx: ctx, o: o}
	var now Named
	end := func() {
		if now.Records > 0 {
			each(now)
		}
	}
	err := r.names(func(versions []store.Info) error {
		id, ok := r.signed(versions)
		if !ok {
			if foreign != nil {
				foreign(versions[0].Name)
			}
			return nil
		}
		if now.Reporter != id.Reporter || !now.Series.Equal(id.Series.Time) {
			end()
			now = Named{Reporter: id.Reporter, Series: id.Series, Last: -1}
		}
		switch gap := id.Number - now.Last; {
		case gap == 0:
			r.find(Forked, versions[0].Name, "number %d is there twice", id.Number)
			return nil
		case gap > 1:
			r.find(Missing, versions[0].Name, "numbers %d to %d before it are not there", now.Last+1, id.Number-1)
		}
		now.Last, now.Records = id.Number, now.Records+1
		if at := arrived(versions); at.After(now.Arrived) {
			now.Arrived = at
		}
		return nil
	})
	if err != nil {
		return err
	}
	end()
	return nil
}
