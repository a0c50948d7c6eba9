package producer

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/outlet"
)

const (
	// directLinger is how long a record waits for others, where the user's options do not say.
	directLinger = 10 * time.Millisecond
	// lingerRecords are enough to send what lingers: at full speed all of a linger would be batches
	// whose first records are in no processor's cache any more, and a buffer in which more wait.
	lingerRecords = 4096
)

// lingers ends the linger of a direct producer's client behind each few thousand records.
type lingers struct {
	ends    bool         // the linger is ours; set before the client is used
	records atomic.Int64 // since the last end
}

func (l *lingers) begin(cl *kgo.Client) {
	l.ends = cl.OptValue(kgo.ProducerLinger) == any(directLinger)
}

// produced counts the records of a call.
func (l *lingers) produced(out *outlet.Outlet, records int) {
	if !l.ends {
		return
	}
	if n := l.records.Add(int64(records)); n >= lingerRecords {
		l.records.Add(-n)
		out.SendNow()
	}
}
