package e2e

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify/feed"
)

// feeder produces numbered inputs at a steady rate in the background.
type feeder struct {
	*feed.Feed
	s *scenario
}

// feed starts feeding so many inputs per second.
func (s *scenario) feed(perSecond int) *feeder {
	s.Helper()
	f := feed.Start(s.plain(kgo.ProducerLinger(0)), s.input, 1, perSecond)
	s.Cleanup(func() { _, _ = f.Finish() })
	return &feeder{f, s}
}

// more waits until n more inputs were fed, so that what comes next happens under load.
func (f *feeder) more(n uint64) {
	f.s.Helper()
	want := f.Made() + n
	f.s.await(fmt.Sprintf("%d more inputs", n), func() error {
		if got := f.Made(); got < want {
			return fmt.Errorf("%d to go", want-got)
		}
		return nil
	})
}

// finish stops feeding and returns how many inputs there are, all of them acknowledged.
func (f *feeder) finish() uint64 {
	f.s.Helper()
	n, err := f.Finish()
	if err != nil {
		f.s.Fatalf("the test's own producer failed: %v", err)
	}
	return n
}
