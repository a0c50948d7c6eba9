// Package configerr is the one way to say that a field of a configuration is wrong. The public
// packages have the type as their ConfigError, so that errors.As finds it by any of their names.
package configerr

import (
	"errors"
	"fmt"
	"strings"
)

// Error names a field of a configuration that is wrong, and says what to do about it.
type Error struct {
	// Config is the type that the field is in, such as "consumer.Config".
	Config string
	// Field is its path in there: Topics, Apps[0].Name, Options[2]. An option of the Kafka client
	// that is refused is the Value of its place in Options.
	Field string
	// Value is what it is set to, as it is shown; "" where the field is required and not set.
	Value string
	// Reason is what is wrong with it, where the remedy alone does not say so.
	Reason string
	// Remedy says what to do.
	Remedy string
	// Err is the cause, if there is one.
	Err error
}

// Error is like "consumer: Config.MaxRecords is -1: at least 1; leave it 0 for 100000".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(strings.Replace(e.Config, ".", ": ", 1))
	b.WriteString("." + e.Field)
	if e.Value == "" {
		b.WriteString(" is missing: ")
	} else {
		b.WriteString(" is " + e.Value + ": ")
	}
	if e.Reason != "" {
		b.WriteString(e.Reason + "; ")
	}
	b.WriteString(e.Remedy)
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Words is a value that is described rather than shown: "set too".
type Words string

// show is how a value is written: text in quotes.
func show(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(value)
}

// List is what is wrong with one configuration.
type List struct {
	config string
	wrong  []error
}

// For begins the list of a configuration, by its type: "consumer.Config".
func For(config string) *List { return &List{config: config} }

// Wrong adds a field with a wrong value.
func (l *List) Wrong(field string, value any, remedy string) {
	l.Add(&Error{Config: l.config, Field: field, Value: show(value), Remedy: remedy})
}

// Missing adds a field that is not set.
func (l *List) Missing(field, remedy string) {
	l.Add(&Error{Config: l.config, Field: field, Remedy: remedy})
}

// Failed adds a field whose use failed.
func (l *List) Failed(field string, value any, err error, remedy string) {
	l.Add(&Error{Config: l.config, Field: field, Value: show(value), Reason: err.Error(), Remedy: remedy, Err: err})
}

// If adds a field with a wrong value where the condition holds.
func (l *List) If(bad bool, field string, value any, remedy string) {
	if bad {
		l.Wrong(field, value, remedy)
	}
}

// Add adds an error that was made elsewhere; nil adds nothing.
func (l *List) Add(err error) {
	if err != nil {
		l.wrong = append(l.wrong, err)
	}
}

// Err is all of them as one error, nil for none.
func (l *List) Err() error {
	if len(l.wrong) == 1 {
		return l.wrong[0]
	}
	return errors.Join(l.wrong...)
}

// Within is what is wrong with a configuration that is the field of another one, in the words of
// that one.
func Within(config, field string, err error) error {
	switch e := err.(type) { //nolint:errorlint // not errors.As: each of several counts
	case *Error:
		outer := *e
		outer.Config, outer.Field = config, field+"."+e.Field
		return &outer
	case interface{ Unwrap() []error }:
		l := For(config)
		for _, one := range e.Unwrap() {
			l.Add(Within(config, field, one))
		}
		return l.Err()
	}
	return err
}
