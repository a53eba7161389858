package otlptest

import (
	_ "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	_ "google.golang.org/protobuf/proto"
)
