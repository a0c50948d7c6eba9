// Package settings reads the sidecar's configuration: flags over environment over file over
// defaults, with Kafka properties by the names that users of other clients know.
package settings

import (
	"strconv"
	"strings"
)

// FieldError is a setting that cannot be. Its text names the field, the value and the remedy.
type FieldError struct {
	// Field is the name that the user wrote: a flag, a variable, or a key of the file.
	Field string
	// Source is the file, if it stands in one.
	Source  string
	Problem string
}

// Errors are all that is wrong with the settings.
type Errors []error

// Error implements error: one line for one, else a line for each under the first.
func (e Errors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	var b strings.Builder
	b.WriteString(strconv.Itoa(len(e)) + " settings are wrong:")
	for _, err := range e {
		b.WriteString("\n  " + err.Error())
	}
	return b.String()
}

// Unwrap returns them.
func (e Errors) Unwrap() []error { return e }

// orNil is nil where nothing is wrong: an empty list would be an error.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
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

func quote(s string) string { return strconv.Quote(s) }
