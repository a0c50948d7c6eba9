// Package lastwill is what is done in a consumer group for a process that died: what is left to
// commit is committed as that member, and its groups are left for it. [Plan] decides what to
// commit, and asks nobody. [Will.Execute] asks the group's coordinator, behind an interface.
//
// When a will is due, and what the process left, is the sidecar's to know.
package lastwill
