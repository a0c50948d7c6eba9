// Package perfguard counts what a fixed job costs, and compares it with baseline.json: allocations
// and bytes a record, produce requests, and messages between app and sidecar a million records. It
// measures no time: the job runs in a synctest bubble, so a linger ends when nothing else is left
// to do, however busy the machine is.
//
// `make perf-guard` runs it, and fails when a figure differs from the file by more than 5 %: one
// that is worse is to be mended, one that is better to be written down, by
//
//	ACKMARK_PERF_GUARD=write go test -count=1 ./internal/proof/perfguard
package perfguard
