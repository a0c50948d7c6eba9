// Package calls bounds the calls that are open, unread and being read, before anything is known of
// who makes them (S9).
//
// Nothing of a message is counted before it is read, and each may be as large as MaxMessageBytes;
// so the calls of each kind are few, those whose message is not read are fewer, and those whose
// message is being read fewer still.
package calls
