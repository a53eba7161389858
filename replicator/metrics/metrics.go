// Package metrics keeps a file of metrics for the textfile collector of Prometheus' node_exporter.
//
// One file holds what all commands of a configuration have to say. Each command owns some series, by name and labels, and puts
// them in the place of those it wrote before; the rest of the file stays. So a run of one source leaves what is known of another,
// and what a verification said, alone. The file is read, merged and replaced as a whole while no other command does.
//
// Names keep to Prometheus' conventions: base units, the unit at the end of the name, times in seconds since 1970. Nothing here asks a
// vault, and nothing that is written is a secret: sources, vaults, commands and hosts of receivers are the only labels.
package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/holdfast-backup/holdfast/store/lockfile"
)

// Sample is one value of a gauge.
type Sample struct {
	Name   string // without the common beginning
	Labels Labels
	Value  float64
}

// Labels are names and values.
type Labels map[string]string

// Prefix begins the name of every metric.
const Prefix = "holdfast_"

// ErrUnknown: a metric that Help does not know.
var ErrUnknown = errors.New("no such metric")

// Update is what a command has to say.
type Update struct {
	Samples []Sample
	// Replaces picks the series that the command owns, beside those that Samples name: they go if Samples has them not.
	Replaces func(name string, l Labels) bool
	// Keep picks the series that stay at all: those of sources that are configured no more do not. May be nil.
	Keep func(name string, l Labels) bool
}

// maxFile bounds a file that is read, in bytes: one that is larger is not ours.
const maxFile = 16 << 20

// Write merges an update into the file at path, whose folder must be there, and makes it readable for everybody. A file that cannot
// be understood is replaced; the error says so, and wraps ErrReplaced.
func Write(ctx context.Context, path string, u Update) error {
	dir, name := filepath.Split(path)
	release, err := lockfile.Take(ctx, filepath.Join(dir, "."+name+".lock"), 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("metrics: the folder %s is not there; make it, and let this user write to it", filepath.Clean(dir))
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer release()
	had, rerr := read(path)
	families, err := merge(had, u)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	gather := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	if err := prometheus.WriteToTextfile(path, gather); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if rerr != nil {
		return fmt.Errorf("metrics: %w: %w", ErrReplaced, rerr)
	}
	return nil
}

// ErrReplaced: the file that was there could not be understood, and has been replaced by what this command knows.
var ErrReplaced = errors.New("the file that was there has been replaced")

// read gives the samples of a file; none where there is none.
func read(path string) ([]Sample, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file of metrics", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no file of metrics: %w", path, err)
	}
	var out []Sample
	for name, family := range families {
		short, ours := strings.CutPrefix(name, Prefix)
		if _, known := help()[short]; !ours || !known {
			continue // of a version that knew another one
		}
		for _, m := range family.GetMetric() {
			l := Labels{}
			for _, pair := range m.GetLabel() {
				l[pair.GetName()] = pair.GetValue()
			}
			out = append(out, Sample{short, l, m.GetGauge().GetValue()})
		}
	}
	return out, nil
}

// key tells series apart.
func (s Sample) key() string {
	var b strings.Builder
	b.WriteString(s.Name)
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		fmt.Fprintf(&b, "|%s=%q", name, valid(s.Labels[name]))
	}
	return b.String()
}

// valid is a label's value as it may be written.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// merge gives the families of a file: what stays of what it had, and what is new.
func merge(had []Sample, u Update) ([]*dto.MetricFamily, error) {
	all := map[string]Sample{}
	for _, s := range had {
		if u.Replaces != nil && u.Replaces(s.Name, s.Labels) || u.Keep != nil && !u.Keep(s.Name, s.Labels) {
			continue
		}
		all[s.key()] = s
	}
	for _, s := range u.Samples {
		all[s.key()] = s
	}
	families := map[string]*dto.MetricFamily{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		s := all[key]
		text, known := help()[s.Name]
		if !known {
			return nil, fmt.Errorf("%w: %s", ErrUnknown, s.Name)
		}
		f := families[s.Name]
		if f == nil {
			name, gauge := Prefix+s.Name, dto.MetricType_GAUGE
			f = &dto.MetricFamily{Name: &name, Help: &text, Type: &gauge}
			families[s.Name] = f
		}
		m := &dto.Metric{Gauge: &dto.Gauge{Value: &s.Value}}
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			value := valid(s.Labels[name])
			m.Label = append(m.Label, &dto.LabelPair{Name: &name, Value: &value})
		}
		f.Metric = append(f.Metric, m)
	}
	return slices.SortedFunc(maps.Values(families), func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }), nil
}

// Seconds is a time as metrics write it; 0 for none.
func Seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

// Truth is 1 for true.
func Truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
