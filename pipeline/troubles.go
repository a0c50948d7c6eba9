package pipeline

import (
	"fmt"
	"sync"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
)

// troubles are what went wrong last with inputs that may not be done yet, for who asks why an ack
// mark stands still. Only failures are noted, so that what goes well costs nothing; what is done
// meanwhile is forgotten when somebody asks.
type troubles struct {
	mu sync.Mutex
	of map[inputPlace]problem
}

type inputPlace struct {
	epoch  uint64
	offset int64
}

type problem struct {
	stage   podstate.Stage // Retrying, Redelivering or Deciding
	attempt int            // handler calls, or rounds of delivery
	err     string
	next    time.Time // when it is tried again; zero: now
}

// maxTroubles bounds them: any one is forgotten for the next. One that goes on is noted again.
const maxTroubles = 1024

func (t *troubles) note(m *consumer.Message, x problem, err error) {
	if err != nil {
		x.err = podstate.Text(fmt.Sprint(err))
	}
	at := inputPlace{m.Assignment().Epoch, m.Original().Offset}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.of[at]; !known && len(t.of) >= maxTroubles {
		for other := range t.of {
			delete(t.of, other)
			break
		}
	}
	if t.of == nil {
		t.of = make(map[inputPlace]problem)
	}
	t.of[at] = x
}

// open are those of inputs that are not done, by marks of epochs; the others are forgotten.
func (t *troubles) open(marks map[uint64]int64) map[inputPlace]problem {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[inputPlace]problem, len(t.of))
	for at, x := range t.of {
		if mark, held := marks[at.epoch]; !held || at.offset < mark {
			delete(t.of, at)
			continue
		}
		out[at] = x
	}
	return out
}
