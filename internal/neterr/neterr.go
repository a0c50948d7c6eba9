// Package neterr tells what a failed connection means, on every system: Windows has numbers of its
// own for what Unix calls ECONNREFUSED.
package neterr

import "errors"

// Refused tells that nobody listens at the address.
func Refused(err error) bool { return isOne(err, refused) }

// Reset tells that the other end closed the connection without a word.
func Reset(err error) bool { return isOne(err, reset) }

// Unreachable tells that no way leads to the host or its network.
func Unreachable(err error) bool { return isOne(err, unreachable) }

func isOne(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
