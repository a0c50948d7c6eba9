package sidecar

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/kgoopt"
)

// checkOptions refuses the options that would break a promise.
func checkOptions(opts []kgo.Opt) error {
	probe, err := kgoopt.Check(kgoopt.Sidecar, opts)
	if err != nil {
		return err
	}
	probe.Close()
	return nil
}
