// Package listen opens the sidecar's unix socket, which nobody else can replace or steal, and
// bounds the connections of any listener. It knows nothing of what is said over them.
package listen
