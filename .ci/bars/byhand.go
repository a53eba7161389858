package main

import "context"

func byHand(ctx context.Context, w *world) error { return nil }
