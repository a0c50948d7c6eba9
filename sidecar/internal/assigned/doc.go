// Package assigned has what the process of one session holds, as it told: its memberships, the
// partitions that they were assigned with where each stands, and what that takes of the shares of
// memory which no credit covers (S9).
//
// It knows neither streams nor sessions, and has no lock: its owner's guards it. What is an error
// here is what the client did wrong.
package assigned
