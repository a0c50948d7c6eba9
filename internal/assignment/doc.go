// Package assignment is one assignment of a partition: the time from when a member gets it until it
// leaves. It knows what was read, what is done, what is due to be committed and whether anything
// may still change. Consumer and sidecar both keep one for each partition: the consumer reads the
// records itself ([Assignment.Read]), the sidecar learns of them in any order
// ([Assignment.Follow]).
//
// A new assignment is a new value with a tracker of its own (S4): nothing that still refers to an
// old one can touch it. Nothing here blocks, asks the clock or a broker, or is safe for concurrent
// use.
package assignment
