package ackmark

import "strings"

// ConfigError names a field of a configuration that is wrong, and says what to do about it. Every
// package of Ackmark returns it, under its own name for it; several at once are joined, and
// [errors.As] finds the first of them.
type ConfigError struct {
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

// Error is like "consumer: Config.MaxRecords is -1: at least 1; leave it 0 for 50,000, with
// CommitElsewhere 100,000".
func (e *ConfigError) Error() string {
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
func (e *ConfigError) Unwrap() error { return e.Err }
