//go:build !linux

package kafkatest

import (
	"os"
	"runtime"
)

func dataRoot() string { return "" }

func lockFile(*os.File) error {
	return missing("tests on real brokers run on Linux only, not on %s", runtime.GOOS)
}
