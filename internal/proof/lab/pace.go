package lab

import (
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	instantFetches = 1000 // more than all apps send at one moment of virtual time
	pacedFetches   = 50   // once a client was seen to do so
	fetchPause     = 100 * time.Millisecond
)

// pace lets time go on for a client that fetches without end. A network takes time, a bubble's
// requests take none: where the embedded broker answers a fetch session at once with nothing, as it
// does now and then after leaders have moved, the client would ask it again for ever at one moment.
func pace(cluster *kfake.Cluster) {
	var moment time.Time
	n, limit := 0, instantFetches
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		if now := time.Now(); !now.Equal(moment) {
			moment, n = now, 0
		}
		if n++; n > limit {
			limit = pacedFetches
			cluster.SleepControl(func() { time.Sleep(fetchPause) })
		}
		return nil, nil, false
	})
}
