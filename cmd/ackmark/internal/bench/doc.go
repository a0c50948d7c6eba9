// Package bench measures the at-least-once job (consume, upper-case, produce, commit) through
// Ackmark against the bare franz-go AutoCommitMarks loop, in the same run, in alternated pairs,
// each contestant as processes of its own. What counts are ratios with an interval; seconds do not.
package bench
