//go:build !otel

package main

// newTracer gives no tracer: this program was built without.
func newTracer(*app) tracer { return nil }
