// Package podview shows a pod in text: tables, the live view of `ackmark top`, and why the mark of
// a partition stands. It is pure: what it shows it is given, and all that apps and brokers named is
// escaped.
package podview
