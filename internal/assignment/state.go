package assignment

// State is what may still happen to an assignment.
type State uint8

const (
	// Reading: inputs come, are done, and are committed.
	Reading State = iota
	// Draining: it is about to leave. What was begun is done and committed, nothing new is begun.
	Draining
	// Halted: an input could not be done. What is done below it is committed, nothing new is begun.
	Halted
	// Foreign: its topic is another one by now. Nothing is committed any more.
	Foreign
	// Fenced: it is over. Nothing changes what it was.
	Fenced
	states
)

// String is for logs and tests.
func (s State) String() string {
	return [...]string{"reading", "draining", "halted", "foreign", "fenced"}[s]
}

// Event is what can happen to an assignment.
type Event uint8

const (
	// Drain: it leaves in good order.
	Drain Event = iota
	// Halt: an input could not be done.
	Halt
	// Recreate: its topic was deleted, or made anew under its name.
	Recreate
	// Fence: it left, or was lost.
	Fence
	events
)

// String is for logs and tests.
func (e Event) String() string { return [...]string{"drain", "halt", "recreate", "fence"}[e] }

// transitions is the whole of it. A halted assignment that drains stays halted: both begin nothing,
// and why it halted must not be forgotten.
var transitions = [states][events]State{
	Reading:  {Drain: Draining, Halt: Halted, Recreate: Foreign, Fence: Fenced},
	Draining: {Drain: Draining, Halt: Halted, Recreate: Foreign, Fence: Fenced},
	Halted:   {Drain: Halted, Halt: Halted, Recreate: Foreign, Fence: Fenced},
	Foreign:  {Drain: Foreign, Halt: Foreign, Recreate: Foreign, Fence: Fenced},
	Fenced:   {Drain: Fenced, Halt: Fenced, Recreate: Fenced, Fence: Fenced},
}

// Reads tells that new inputs may be begun.
func (s State) Reads() bool { return s == Reading }

// Commits tells that what is done may be committed.
func (s State) Commits() bool { return s == Reading || s == Draining || s == Halted }

// Over tells that nothing is counted any more.
func (s State) Over() bool { return s == Fenced }
