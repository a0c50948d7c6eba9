package lab

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// primer gets a producing client its producer id before anything can go wrong. kgo holds a mutex
// while it asks for one: were the answer late, by a slow or broken link, whoever else wants to
// produce would wait for that mutex, and the bubble's clock would stand still for ever. For the
// same reason no test should fault InitProducerID.
type primer struct {
	once   sync.Once
	client *kgo.Client // the first: those of transactions come later, and take their ids themselves
}

// OnNewClient implements kgo.HookNewClient.
func (p *primer) OnNewClient(cl *kgo.Client) { p.once.Do(func() { p.client = cl }) }

func (p *primer) prime(l *Lab) {
	ctx, cancel := l.context()
	defer cancel()
	if _, _, err := p.client.ProducerID(ctx); err != nil {
		l.T.Fatalf("no producer id: %v", err)
	}
}
