// Package groupcommit is a group's commit: the request for a membership, cut into parts that a
// broker takes, whose answer is whose, and what each error of the coordinator means. The consumer
// commits by it, and the will of a dead process. It asks nobody and keeps nothing.
package groupcommit
