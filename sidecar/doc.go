// Package sidecar is the producer sidecar: one Kafka producer for all the app processes of a pod.
//
// [New] validates a [Config], [Server.Run] serves until its context ends and then drains,
// [Server.Check] tells whether Kafka can be reached, [Server.Status] what is going on,
// [Server.Close] stops. What is wrong with a Config is a [ConfigError], why it cannot serve a
// [SocketError], what a drain left behind an [UndeliveredError]. The wire contract
// is package sidecarpb; `ackmark sidecar` is a thin shell on this package.
//
// # Memory
//
// What a session may have outstanding is its credit, a part of Config.MaxBytes and MaxRecords that
// it is granted when it begins, and again as others come, go and rest. Beside it, at most twice its
// credit of received buffers may be pinned by records that Kafka has not acknowledged. Then the
// sidecar stops reading from that session, and from no other. The same holds for all sessions
// together, the dead ones included whose records Kafka has still to take: at most twice MaxBytes.
// Messages that are being read are not counted yet; open calls are bounded instead, and each
// message by MaxMessageBytes. Reports are kept as bits beside what still holds credit: a client
// that does not read them stops itself.
//
// How it works inside is in DESIGN.md: the way of a record, and the parts of a sidecar.
package sidecar
