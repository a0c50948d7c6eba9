// Package telemetry names everything that Ackmark measures: the table [Metrics] with names, units,
// attributes and what they mean, and the instruments that a part of it makes on a provider of its
// user. Names are those of OpenTelemetry's messaging conventions where these have one, and
// ackmark.* where they have none.
//
// What counts on a hot path is a plain counter of its part, read when somebody collects
// ([Part.Observe]); durations are recorded by [Recorder], a few of a batch. Without a provider
// there is no [Part], and everything of a nil one does nothing.
//
// The package needs OpenTelemetry's API only. What serves a process's metrics is package exporter
// below it.
package telemetry
