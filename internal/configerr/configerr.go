// Package configerr collects what is wrong with a configuration, all of it at once. The error is
// [ackmark.ConfigError], which the public packages have as their ConfigError, too: errors.As finds
// it by any of their names.
package configerr

import (
	"errors"
	"fmt"

	"github.com/ackmark/ackmark"
)

// Error is how everybody calls it in here.
type Error = ackmark.ConfigError

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
