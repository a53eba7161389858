package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

const (
	readAt   = 4               // entries of which a little is read, where the first cannot be
	lookAt   = 1000            // entries that are looked through for one that can be read
	taste    = 64 << 10        // bytes of it that are read
	patience = 2 * time.Minute // for the beginning of a listing
)

// source checks one source: that its credential can do what it must, and nothing else.
func (d *doctor) source(ctx context.Context, s *Source) error {
	subject := "source " + s.Name
	d.transport(subject, s.Place)
	if s.Key != nil {
		if _, err := s.Key(ctx); err != nil {
			return d.badCredentials(subject, err)
		}
	}
	err := d.readable(ctx, subject, s)
	if s.Bucket == nil || s.Key == nil {
		switch {
		case s.Directory:
			d.add(subject, "source-rights", probe.Info, "", "a directory: what this user may do there is up to the file system")
		case s.Program:
			d.add(subject, "source-rights", probe.Info, "", "a program: what it may do is up to what it finds on this machine")
		default:
			d.add(subject, "source-rights", probe.NotTested, "", "what else its credential may do cannot be asked here without doing it: compare its policy with `holdfast policy --role source-reader`")
		}
		return err
	}
	ask, aerr := s.Bucket(s.Key)
	if aerr != nil {
		return errors.Join(err, aerr)
	}
	d.onlyReads(ctx, subject, s, ask)
	return err
}

// readable reads as a run does: the beginning of the listing, and a little of the first thing that has content, with its
// tags.
func (d *doctor) readable(ctx context.Context, subject string, s *Source) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	unlisted := func(err error) error {
		if store.Retryable(err) || ctx.Err() != nil {
			d.add(subject, "source-list", probe.NotTested, "", "no answer: "+err.Error())
			return err
		}
		d.add(subject, "source-list", probe.Critical, mendOf(err), "it cannot be listed: "+err.Error())
		return nil
	}
	view, err := s.Source.Freeze(ctx)
	if err != nil {
		return unlisted(err)
	}
	defer func() { _ = view.Close() }() // only read from
	if _, ok := view.(source.Output); ok {
		d.add(subject, "source-read", probe.Info, "", "a program, which only a run runs")
		return nil
	}
	n := 0
	var lost error // the first that cannot be read
	var picks []*format.Entry
	for e, err := range view.Entries(ctx, "", "") {
		if err != nil {
			return unlisted(err)
		}
		n++
		switch {
		case e.Missing != "" && lost == nil:
			lost = fmt.Errorf("%q cannot be read: %s", e.Key, e.Missing)
		case e.Missing == "" && e.Kind.HasContent():
			c := *e
			picks = append(picks, &c)
		}
		if n == lookAt || len(picks) == readAt {
			break
		}
	}
	d.add(subject, "source-list", probe.OK, "", "it can be listed")
	d.habits(ctx, subject, view)
	if lost == nil && len(picks) == 0 {
		d.add(subject, "source-read", probe.NotTested, "", fmt.Sprintf("among %d entries there is none whose content could be read", n))
		return nil
	}
	d.samples(ctx, subject, s, view, picks, lost)
	return nil
}

// samples reads a little of some entries until one can be read. lost is the first that was listed as one that cannot.
func (d *doctor) samples(ctx context.Context, subject string, s *Source, view source.View, picks []*format.Entry, lost error) {
	for _, e := range picks {
		var u *source.Unreadable
		err := read(ctx, view, e, s.Tags)
		switch {
		case err == nil && lost == nil:
			d.add(subject, "source-read", probe.OK, "", "content and what belongs to it can be read")
			return
		case err == nil:
			d.add(subject, "source-read", probe.Warning, "see to that entry, or exclude it: points are incomplete while it is so", "others can be read; "+lost.Error())
			return
		case !errors.As(err, &u):
			d.add(subject, "source-read", probe.NotTested, "", "no clear answer: "+err.Error())
			return
		case lost == nil && !u.Accepted:
			lost = err
		}
	}
	if lost != nil {
		d.add(subject, "source-read", probe.Critical, mendOf(lost), lost.Error())
		return
	}
	d.add(subject, "source-read", probe.NotTested, "", fmt.Sprintf("none of %d entries can be read as they are: archived, say", len(picks)))
}

// mendOf says what is to be done about a source that cannot be listed or read. Rights are the reason only where the error
// says so.
func mendOf(err error) string {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "name a bucket that is there in its `url`"
	case errors.Is(err, store.ErrCredentials):
		return "renew what its `credentials` name"
	case errors.Is(err, store.ErrDenied), strings.Contains(err.Error(), "denied"):
		return "give its credential what `holdfast policy --role source-reader` prints"
	}
	return "mend what the error names, and run `holdfast doctor` again"
}

// habits tries in what the source's server differs from others, and names the settings that say so.
func (d *doctor) habits(ctx context.Context, subject string, view source.View) {
	if t, ok := view.(source.Trier); ok {
		if err := t.Try(ctx); err != nil {
			d.add(subject, "source-habits", probe.NotTested, "", "not all habits of its server could be tried: "+err.Error())
		}
	}
	h, ok := view.(source.Habits)
	if !ok {
		return
	}
	met := h.Habits()
	for _, h := range met {
		mend := ""
		if h.Setting != "" {
			mend = "write `" + h.Setting + "` into the source's configuration; runs find it out again until then"
		}
		d.add(subject, "source-habit-"+h.Name, probe.Info, mend, h.Text)
	}
	if len(met) == 0 {
		d.add(subject, "source-habits", probe.OK, "", "its server has no habits that need a setting")
	}
}

// read reads the beginning of one entry.
func read(ctx context.Context, view source.View, e *format.Entry, tags bool) error {
	if e.Kind == format.KindImage {
		return readImage(ctx, view, e)
	}
	again := *e
	r, err := view.Open(ctx, e, 0, min(e.Size, taste))
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return errors.Join(err, r.Close())
	}
	if err := r.Close(); err != nil {
		return err
	}
	if !tags || e.Kind != format.KindObject {
		return nil
	}
	return view.Complete(ctx, &again)
}

func readImage(ctx context.Context, view source.View, e *format.Entry) error {
	images, ok := view.(source.Images)
	if !ok {
		return fmt.Errorf("%q is an image, and its source reads none", e.Key)
	}
	img, err := images.Image(ctx, e, nil)
	if err != nil {
		return err
	}
	for b, err := range img.Blocks(ctx) {
		if err == nil {
			_, err = img.Read(ctx, b.N, make([]byte, format.ImageBlock))
		}
		return errors.Join(err, img.Close())
	}
	return img.Close()
}

// onlyReads asks with the source's credential for what it must not be allowed.
func (d *doctor) onlyReads(ctx context.Context, subject string, s *Source, ask Asker) {
	look := ask.Look(ctx)
	v, err := vendor.Detect(hostOf(s.Host), vendor.Answered{Server: look.Server, RequestID: look.RequestID})
	if err != nil {
		d.add(subject, "source-rights", probe.NotTested, "", err.Error())
		return
	}
	if look.Code == "NoSuchBucket" {
		d.add(subject, "source-rights", probe.NotTested, "", "there is no such bucket to ask: "+look.Outcome(), look)
		return
	}
	const mend = " from the source's credential: it is to read and nothing else (`holdfast policy --role source-reader`)"
	take := func(action string) string { return "take " + v.Right(action) + mend }
	switch ans := ask.Finish(ctx); {
	case ans.Denied():
		d.add(subject, "source-write", probe.OK, "", "its credential may not write: "+ans.Outcome(), ans)
	case ans.Status == 404 || ans.Done() || v.MayPut(ans.Status, ans.Code):
		d.add(subject, "source-write", probe.Warning, take("s3:PutObject"), "its credential may write: whoever robs this machine can overwrite the originals ("+ans.Outcome()+")", ans)
	default:
		d.add(subject, "source-write", probe.NotTested, "", "the answer does not tell whether its credential may write: "+ans.Outcome(), ans)
	}
	switch ans := ask.Remove(ctx); {
	case ans.Denied():
		d.add(subject, "source-delete-version", probe.OK, "", "its credential may not delete versions: "+ans.Outcome(), ans)
	case ans.Status == 404 || ans.Done():
		d.add(subject, "source-delete-version", probe.Warning, take("s3:DeleteObjectVersion"), "its credential may delete versions ("+ans.Outcome()+")", ans)
	default:
		d.add(subject, "source-delete-version", probe.NotTested, "", "the answer does not tell whether its credential may delete versions: "+ans.Outcome(), ans)
	}
	d.deletes(ctx, subject, v, ask, take("s3:DeleteObject"))
	for _, set := range []struct {
		name          attack.Setting
		check, action string
	}{
		{attack.Lifecycle, "source-lifecycle", "s3:PutLifecycleConfiguration"},
		{attack.Policy, "source-policy", "s3:PutBucketPolicy"},
		{attack.Versioning, "source-versioning", "s3:PutBucketVersioning"},
	} {
		f := probe.Setting(ctx, garbleOnly{ask}, v, set.name)
		f.Check = set.check
		if f.Severity == probe.Warning {
			f.Seen, f.Mend = "its credential may change the bucket's "+string(set.name)+": "+f.Seen, take(set.action)
		}
		d.report(subject, f)
	}
}

// deletes asks for a name to be deleted that is too long to be one. A vendor that looks at the name before it looks at rights
// says so to everybody: then a stranger is asked as well, and where he hears the same nothing was learnt of rights.
func (d *doctor) deletes(ctx context.Context, subject string, v vendor.Profile, ask Asker, mend string) {
	const check = "source-delete"
	ans := ask.Erase(ctx)
	first := v.Rights.LongNames
	may := ans.Done() || ans.Refused() && first.Known() && first.Value
	answers := []attack.Answer{ans}
	if !ans.Denied() && !may && v.NameFirst(ans.Status, ans.Code) {
		stranger := ask.EraseAnonymously(ctx)
		answers = append(answers, stranger)
		if may = stranger.Denied(); !may {
			d.add(subject, check, probe.Info, "", v.Title+" refuses a name that is too long before it looks at rights ("+ans.Outcome()+"), so that it cannot be asked whether its credential may lay delete markers; "+
				"source-delete-version says whether it may destroy anything", answers...)
			return
		}
	}
	switch {
	case ans.Denied():
		d.add(subject, check, probe.OK, "", "its credential may not delete: "+ans.Outcome(), answers...)
	case may:
		d.add(subject, check, probe.Warning, mend, "its credential may delete ("+ans.Outcome()+")", answers...)
	default:
		d.add(subject, check, probe.NotTested, "", "the answer does not tell whether its credential may delete: "+ans.Outcome(), answers...)
	}
}

// garbleOnly never writes a setting back: a source's configuration is left alone even where that would change nothing.
type garbleOnly struct{ Asker }

var errNotAsked = errors.New("not asked of a source")

func (garbleOnly) Read(context.Context, attack.Setting) attack.Answer {
	return attack.Answer{Request: "GET of the setting", Err: errNotAsked}
}

func (g garbleOnly) Rewrite(ctx context.Context, s attack.Setting) (read, write attack.Answer) {
	return g.Read(ctx, s), attack.Answer{}
}
