package producer

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/configerr"
)

// OnFull chooses what happens when the producer is full.
type OnFull int

const (
	// Block waits until there is space, the context ends or the producer is closed. The default.
	Block OnFull = iota
	// Refuse fails at once with [ErrFull].
	Refuse
)

// String implements fmt.Stringer.
func (o OnFull) String() string {
	switch o {
	case Block:
		return "block"
	case Refuse:
		return "refuse"
	}
	return fmt.Sprintf("OnFull(%d)", int(o))
}

func (o OnFull) validate(wrong *configerr.List) {
	wrong.If(o != Block && o != Refuse, "OnFull", o, "use producer.Block or producer.Refuse")
}
