// Package lastwill is what is done in a consumer group for a process that died: what is left to
// commit is committed as that member, and its groups are left for it. [Plan] decides what to
// commit, and asks nobody. [Will.Execute] asks the group's coordinator, behind an interface.
//
// [On] is that coordinator, on a Kafka client.
//
// When a will is due, and what the process left, is for the sidecar to know, or for the next
// process where there is none.
package lastwill
