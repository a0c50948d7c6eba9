//go:build !race

package sidecar_test

// underRace tells that the race detector is on.
const underRace = false
