// Package chaos does the faults of docs/faults.md to real processes under load: it kills, stops and
// cuts off apps, sidecars and brokers, and judges by what an independent reader finds in the
// topics. `ackmark chaos` and `make chaos` run it, `make soak` for half an hour.
package chaos
