// Package sentinel has the rules whose breach is a fault of Ackmark itself, and counts the breaches
// that the product sees while it works. Every count must stay 0.
//
// The checker of the proof (internal/proof/verify) judges by the same rules, from what brokers have
// in their logs. Consumer, pipeline and sidecar judge from what they know without asking: of each
// fact something is kept beside the part that decides by it. The ack mark, for example, comes from
// the tracker, and is held against the outcomes of the inputs themselves.
//
// A sentinel decides nothing: it counts, and says so in one line of the log, without a key or a
// payload.
package sentinel
