// Package gate keeps a sidecar that stood still from sending what its client has sent another way
// by then (fault 5).
package gate
