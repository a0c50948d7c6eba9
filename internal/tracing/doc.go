// Package tracing makes the spans of consumer, pipeline, producer and sidecar, and reads and writes
// the W3C trace context in record headers. A nil *Tracer is no tracer: who has none makes no span
// and looks at no header.
package tracing
