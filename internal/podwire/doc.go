// Package podwire carries what package podstate describes over the wire contract: what a process
// tells up to its sidecar, and what Status answers.
//
// What a peer says is checked here, after the table of bounds
// ([github.com/ackmark/ackmark/internal/wire.Bounds]) held its sizes.
package podwire
