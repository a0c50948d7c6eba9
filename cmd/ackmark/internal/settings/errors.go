// Package settings reads the sidecar's configuration: flags over environment over file over defaults, with Kafka properties by the
// names that users of other clients know.
package settings

import (
	"strconv"
	"strings"
)

// FieldError is a setting that cannot be. Its text names the field, the value and the remedy.
type FieldError struct {
	Field string
	// Source is where the value came from: a file, a variable, a flag.
	Source  string
	Problem string
}

// Error implements error.
func (e *FieldError) Error() string {
	var b strings.Builder
	if e.Source != "" {
		b.WriteString(e.Source + ": ")
	}
	if e.Field != "" && !strings.HasPrefix(e.Problem, "unknown ") { // that names it already
		b.WriteString(e.Field + " ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

func fieldError(field, problem string) *FieldError {
	return &FieldError{Field: field, Problem: problem}
}

func quote(s string) string { return strconv.Quote(s) }
