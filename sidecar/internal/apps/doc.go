// Package apps has the apps that the sidecar serves: which there may be, what each may write to and
// speak for, what one may have of what all share, and who was refused what.
package apps
