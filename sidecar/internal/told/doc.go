// Package told keeps what app processes tell of themselves, and what happened lately, for who looks
// at the sidecar. Nothing of it changes what becomes of a unit: what does not fit, comes too often
// or cannot be true is dropped, and never makes anybody wait.
package told
