//go:build !linux && !darwin

package term

import "errors"

// ByKey knows no such terminal here.
func ByKey(int) (restore func(), err error) { return nil, errors.ErrUnsupported }
