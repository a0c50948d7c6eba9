//go:build race

package txn_test

// underRace tells that the race detector is on.
const underRace = true
