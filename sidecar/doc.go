// Package sidecar is the producer sidecar: one Kafka producer for all the app processes of a pod.
//
// [New] validates a [Config], [Server.Run] serves until its context ends and then drains,
// [Server.Check] tells whether Kafka can be reached, [Server.Close] stops. The wire contract is
// package sidecarpb; `ackmark sidecar` is a thin shell on this package.
//
// # The way of a unit
//
//	stream.go    one goroutine receives: a message becomes a frame (frame.go), whose records alias the received buffer
//	session.go   the frame is admitted: sequence numbers, credit, assignment epochs (epoch.go)
//	deliver.go   each record goes to kgo, behind the gates: its partition's queue, its app's share, the session's pinned memory (meter.go)
//	deliver.go   kgo's promise ends the record; the last record of a unit ends the unit
//	session.go   ended units are bits in their frame, until the stream's other goroutine takes them as ranges into a report
//
// Nothing is allocated, locked across a send, or sent on a channel for a single record; see
// frame.go for who owns the memory when.
//
// # Memory (S9)
//
// What a session may have outstanding is its credit, a window of Config.MaxBytes and MaxRecords
// (window.go). Beside it, at most twice its window of received buffers may be pinned by records
// that Kafka has not acknowledged. Then the sidecar stops reading from that session, and from no
// other. The same holds for all sessions together, the dead ones included whose records Kafka has
// still to take: at most twice MaxBytes. Messages that are being read are not counted yet; open
// calls are bounded instead (tap.go), and each message by MaxMessageBytes. Reports are kept as bits
// of frames that still hold credit: a client that does not read them stops itself (S12).
package sidecar
