package producer

import "fmt"

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

func (o OnFull) validate(field string) error {
	if o != Block && o != Refuse {
		return fmt.Errorf("%s: %d is neither producer.Block nor producer.Refuse", field, int(o))
	}
	return nil
}
