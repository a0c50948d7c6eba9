// Package podstate is the one shape of what a pod does: its sidecar, the processes beside it, where
// each of their partitions stands and why, what waits for Kafka, and what happened lately.
//
// /api/status, the page, and the commands get, top and explain all read it. It is plain: no lock,
// no clock, no I/O. Its JSON names are a promise: they are only added to.
//
// Offsets are -1 where they are not known. Times are of the clock of the process that made the Pod
// (Pod.Time), also those that another process told: they were moved by the difference. Names and
// errors come from apps and brokers: whoever shows them escapes them. There is no payload in it,
// and no key unless somebody on the spot asked for keys.
package podstate
