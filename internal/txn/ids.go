package txn

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ids are the transactional ids of a lane: who has them, and which of them the next window uses. It
// is the lane's goroutine that calls their methods; what is taken again beside it says so.
type ids struct {
	*life
	cfg   *Config
	plain *kgo.Client // asks
	wake  func()      // the lane

	twins    [2]twin
	turn     int // of the twins
	bares    [2]bare
	bareTurn int
	former   []*bare      // of a predecessor with more lanes
	kept     time.Time    // when the bares were taken again last
	live     atomic.Int64 // how long unused ids do, as brokers say; 0: they have not
	refused  atomic.Pointer[refusedID]

	looking   atomic.Bool
	uncertain atomic.Bool // somebody may have taken one

	takePause, keepEvery, bareWait, lookEvery time.Duration
}

// refusedID is why an id could not be taken, the last time that one could not.
type refusedID struct {
	id  string
	err error
}

func newIDs(cfg *Config, of *life, plain *kgo.Client, wake func()) *ids {
	d := &ids{cfg: cfg, life: of, plain: plain, wake: wake, takePause: takePause, keepEvery: keepEvery, bareWait: bareWait, lookEvery: lookEvery}
	for i := range d.twins {
		d.twins[i].id = twinID(cfg.ID, 2*cfg.Number+i)
	}
	for i := range d.bares {
		d.bares[i].id = bareID(cfg.ID, cfg.Number+i*maxLanes)
	}
	return d
}

// useTwin is the twin of a window that has its first output.
func (d *ids) useTwin() *twin {
	if d.twins[d.turn].aside != nil {
		d.turn = 1 - d.turn
	}
	return &d.twins[d.turn]
}

// nextTwin has the next window use the other one, whose markers are written by now.
func (d *ids) nextTwin() {
	if d.otherTwin().aside == nil {
		d.turn = 1 - d.turn
	}
}

// otherTwin is the one that is not in use.
func (d *ids) otherTwin() *twin { return &d.twins[1-d.turn] }

// useBare is the id of a window without outputs.
func (d *ids) useBare() *bare {
	if d.bares[d.bareTurn].aside != nil {
		d.bareTurn = 1 - d.bareTurn
	}
	return &d.bares[d.bareTurn]
}

// otherBare is the one that is not in use.
func (d *ids) otherBare() *bare { return &d.bares[1-d.bareTurn] }

// close ends the clients. Once nothing of the lane runs any more.
func (d *ids) close() {
	for i := range d.twins {
		if cl := d.twins[i].client; cl != nil {
			cl.Close()
		}
	}
}
