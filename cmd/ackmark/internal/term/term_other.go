//go:build !unix

// Package term asks terminals.
package term

// Width knows no terminal here: output is plain.
func Width(int) (int, bool) { return 0, false }

// Size knows none either.
func Size(int) (width, height int, ok bool) { return 0, 0, false }
