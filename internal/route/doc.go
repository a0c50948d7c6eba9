// Package route decides which way records go to Kafka, through the sidecar or directly, and when a
// key may change its way without its records being reordered.
package route
