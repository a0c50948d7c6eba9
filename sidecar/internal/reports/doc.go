// Package reports keeps the reports of an app's queued emits until who emitted has seen them, and
// tells whose they are (S12).
package reports
