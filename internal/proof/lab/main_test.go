package lab

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func drainIn(d time.Duration) func(*pipeline.Config) {
	return func(cfg *pipeline.Config) { cfg.Consumer.DrainTimeout = d }
}
