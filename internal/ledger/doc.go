// Package ledger keeps the books of a session in the sidecar: which units it has received, what of
// its credit they use, which of them ended and how, what is reported, and what must be reported
// again on another stream because it was not heard on the one that broke.
//
// Each unit is reported exactly once to a client that says what it has not heard, and its credit
// comes back when it is reported for the first time (S12). The ledger is pure: no lock, clock or
// goroutine; its owner's lock guards it. It is tested against a naive model, and against the
// client's window.
package ledger
