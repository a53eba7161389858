//go:build otel

package main

import (
	"context"
	"os"

	"github.com/holdfast-backup/holdfast/replicator/otlp"
)

// newTracer gives the tracer that the OTEL_ variables ask for, if any.
func newTracer(a *app) tracer {
	host, err := os.Hostname()
	if err != nil {
		host = "" // then it is not said
	}
	t, warnings := otlp.New(otlp.Options{Env: a.env, Version: thisBuild().Version, Host: host, Now: a.now})
	for _, w := range warnings {
		a.ui.warn("%s", w)
	}
	if t == nil {
		return nil
	}
	return otlpTracer{t}
}

type otlpTracer struct{ t *otlp.Tracer }

func (o otlpTracer) root(name string, about map[string]any) span {
	return otlpSpan{o.t.Root(name, about)}
}
func (o otlpTracer) export(ctx context.Context) error { return o.t.Export(ctx) }

type otlpSpan struct{ s *otlp.Span }

func (o otlpSpan) child(name string, about map[string]any) span {
	return otlpSpan{o.s.Child(name, about)}
}
func (o otlpSpan) end(failed string, about map[string]any) { o.s.End(failed, about) }
