package consumer

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/clusterid"
)

// identity is what a consumer is in its process, whatever membership it has.
type identity struct {
	number  uint64
	cluster atomic.Pointer[string] // nil: not known yet
}

// consumers numbers the consumers of this process.
var consumers atomic.Uint64

// learn takes the cluster's id from the metadata that the client has. A client stays with its
// cluster.
func (i *identity) learn(ctx context.Context, cl *kgo.Client) {
	if i.cluster.Load() != nil {
		return
	}
	if id := clusterid.Known(ctx, cl); id != "" {
		i.cluster.Store(&id)
	}
}

func (i *identity) clusterID() string {
	if id := i.cluster.Load(); id != nil {
		return *id
	}
	return ""
}
