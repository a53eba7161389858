package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/report"
)

// plot is a drawing in lines, rectangles and texts.
type plot struct {
	ID, Title, Desc, Note string
	Width, Height         int
	Lines                 []stroke
	Rects                 []rect
	Paths                 []path
	Texts                 []label
	Keys                  []key
}

type stroke struct {
	Class          string
	X1, Y1, X2, Y2 string
}
type rect struct{ Class, X, Y, W, H string }
type path struct{ Class, Points string }
type label struct{ X, Y, Anchor, Text string }
type key struct{ Class, Text string }

const (
	width, height           = 480, 220
	left, right, top, under = 72, 12, 12, 34
)

func px(x float64) string { return fmt.Sprintf("%.1f", x) }

// axes draws a frame with the greatest value at its side, and the first and last name below.
func (p *plot) axes(most, first, last string) {
	p.Width, p.Height = width, height
	p.Lines = append(p.Lines, stroke{"axis", px(left), px(top), px(left), px(height - under)}, stroke{"axis", px(left), px(height - under), px(width - right), px(height - under)},
		stroke{"axis", px(left), px(top), px(width - right), px(top)})
	p.Texts = append(p.Texts, label{px(left - 6), px(top + 10), "end", most}, label{px(left - 6), px(height - under), "end", "0"},
		label{px(left), px(height - 12), "start", first}, label{px(width - right), px(height - 12), "end", last})
}

func idOf(kind, vault string) string {
	return kind + "-" + strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' {
			return c
		}
		return '-'
	}, vault)
}

// pointsPlot is points by month.
func pointsPlot(v report.Vault) *plot {
	m := v.Points.Months
	most := 0
	for _, x := range m {
		most = max(most, x.Complete+x.Incomplete)
	}
	if most == 0 {
		return nil
	}
	p := &plot{ID: idOf("points", v.Name), Title: "Points of the period that the vault still has, by month.", Keys: []key{{"one", "complete"}, {"two", "incomplete or empty"}}}
	p.axes(num(most), m[0].Month, m[len(m)-1].Month)
	step := float64(width-left-right) / float64(len(m))
	scale := float64(height-top-under) / float64(most)
	var said []string
	for i, x := range m {
		at, base := float64(left)+step*float64(i)+step*.1, float64(height-under)
		done, not := float64(x.Complete)*scale, float64(x.Incomplete)*scale
		p.Rects = append(p.Rects, rect{"one", px(at), px(base - done), px(step * .8), px(done)})
		if x.Incomplete > 0 {
			p.Rects = append(p.Rects, rect{"two", px(at), px(base - done - not), px(step * .8), px(not)})
		}
		said = append(said, fmt.Sprintf("%s: %d complete, %d not", x.Month, x.Complete, x.Incomplete))
	}
	p.Desc = strings.Join(said[max(len(said)-36, 0):], "; ")
	p.Note = "Older points are fewer because most of them are over and deleted, as the retention has it."
	return p
}

// maxBars is how many sources a plot shows: the worst ones.
const maxBars = 20

// rpoPlot is how old the newest complete point of each source was at most.
func rpoPlot(v report.Vault, r *report.Report) *plot {
	var all []report.Source
	for _, s := range v.Sources {
		if s.Achieved != nil && s.Configured {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b report.Source) int { return cmp.Compare(*b.Achieved, *a.Achieved) })
	if all = all[:min(len(all), maxBars)]; len(all) == 0 {
		return nil
	}
	most := max(*all[0].Achieved, r.Targets.RPO, 1)
	p := &plot{ID: idOf("rpo", v.Name), Title: "The oldest that the newest complete point was, the worst sources.", Width: width, Height: 26*len(all) + 44}
	const name, value = 130, 90
	scale := float64(width-name-value) / float64(most)
	var said []string
	for i, s := range all {
		y := float64(12 + 26*i)
		p.Rects = append(p.Rects, rect{"one", px(name), px(y), px(float64(*s.Achieved) * scale), px(16)})
		text := s.Source
		if len(text) > 16 {
			text = text[:15] + ".."
		}
		p.Texts = append(p.Texts, label{px(name - 6), px(y + 13), "end", text}, label{px(name + float64(*s.Achieved)*scale + 5), px(y + 13), "start", report.Span(*s.Achieved)})
		said = append(said, s.Source+": "+report.Span(*s.Achieved))
	}
	if rpo := r.Targets.RPO; rpo > 0 {
		x := name + float64(rpo)*scale
		p.Lines = append(p.Lines, stroke{"goal", px(x), px(4), px(x), px(float64(26*len(all) + 16))})
		p.Texts = append(p.Texts, label{px(x), px(float64(p.Height - 6)), "middle", "RPO " + report.Span(rpo)})
		p.Note = "The broken line is the declared RPO."
	}
	p.Desc = strings.Join(said, "; ")
	return p
}

// curve draws sums by month as steps.
func curve(id, title, class string, sums []report.Sum) *plot {
	var most int64
	for _, s := range sums {
		most = max(most, s.Total)
	}
	if most == 0 || len(sums) == 0 {
		return nil
	}
	p := &plot{ID: id, Title: title}
	p.axes(size(most), sums[0].Month, sums[len(sums)-1].Month)
	step := float64(width-left-right) / float64(len(sums))
	var points, said []string
	for i, s := range sums {
		y := float64(height-under) - float64(height-top-under)*float64(s.Total)/float64(most)
		x := float64(left) + step*float64(i)
		points = append(points, px(x)+","+px(y), px(x+step)+","+px(y))
		said = append(said, s.Month+": "+size(s.Total))
	}
	p.Paths = append(p.Paths, path{class + " path", strings.Join(points, " ")})
	p.Desc = strings.Join(said[max(len(said)-36, 0):], "; ")
	return p
}

func storedPlot(v report.Vault) *plot {
	return curve(idOf("stored", v.Name), "What lies in the vault, summed up by the month in which it came.", "one", v.Stored.Arrived)
}

func expiryPlot(v report.Vault) *plot {
	return curve(idOf("needed", v.Name), "What points that are kept now still need behind each month to come.", "two", v.Stored.Expiring)
}
