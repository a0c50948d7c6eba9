// Package sidecarpb is the wire contract of the producer sidecar: ackmark/sidecar/v1/sidecar.proto
// and the code generated from it.
package sidecarpb
