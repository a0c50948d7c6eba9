package txn

// State is where a lane stands.
type State uint8

// What a State can be.
const (
	Starting  State = iota // its ids are being taken
	Idle                   // nothing to do
	Open                   // a window takes units
	Closing                // the window's records and offsets are being written, and its end
	Committed              // the transaction is committed: reports
	Aborting               // the transaction is given up
	Uncertain              // nobody has said how the transaction ended
	Reinit                 // the ids are taken anew: what was open is aborted
	Resolving              // the coordinator, or the offsets, tell how the transaction ended
	Fenced                 // somebody else has the ids
	Ended                  // closed, or Kafka refuses the lane for good
	states
)

// String is for logs, tests and the status.
func (s State) String() string {
	return [...]string{"starting", "idle", "open", "closing", "committed", "aborting", "uncertain", "reinit", "resolving", "fenced", "ended"}[s]
}

// Told is the state as metrics have it: what a lane does all the time is not told apart.
func (s State) Told() string {
	switch s {
	case Idle, Open, Closing, Committed, Aborting:
		return "working"
	case Uncertain, Reinit, Resolving:
		return Uncertain.String()
	}
	return s.String()
}

// event is what can happen to a lane.
type event uint8

const (
	ready   event = iota // the ids are ours, nothing is open
	work                 // units came
	due                  // the window's time has come, or it is full
	failed               // something of the window cannot be committed
	landed               // EndTxn: committed
	unknown              // EndTxn: not answered, or in a way that says nothing
	sound                // the abort is answered
	broken               // what the client says of the transaction cannot be trusted
	in                   // the offsets say: committed
	out                  // the offsets say: not committed
	taken                // somebody else has the ids
	stop                 // the end, or a refusal for good
	events
)

func (e event) String() string {
	return [...]string{"ready", "work", "due", "failed", "landed", "unknown", "sound", "broken", "in", "out", "taken", "stop"}[e]
}

// no is where an event cannot come.
const no = states

// transitions is the whole of it.
//
// Uncertain and Reinit differ in what follows: after Uncertain the outcome is found out
// (Resolving), after Reinit the window's units go back.
var transitions = [states][events]State{
	Starting:  {Idle, no, no, no, no, no, no, no, no, no, Fenced, Ended},
	Idle:      {no, Open, no, no, no, no, no, no, no, no, Fenced, Ended},
	Open:      {no, no, Closing, Aborting, no, no, no, Reinit, no, no, Fenced, Ended},
	Closing:   {no, no, no, Aborting, Committed, Uncertain, no, Reinit, no, no, Fenced, Ended},
	Committed: {Idle, no, no, no, no, no, no, no, no, no, no, Ended},
	Aborting:  {no, no, no, no, no, no, Idle, Reinit, no, no, Fenced, Ended},
	Uncertain: {Resolving, no, no, no, no, no, no, no, no, no, Fenced, Ended},
	Reinit:    {Idle, no, no, no, no, no, no, no, no, no, Fenced, Ended},
	Resolving: {no, no, no, no, no, no, no, no, Committed, Idle, Fenced, Ended},
	Fenced:    {no, no, no, no, no, no, no, no, no, no, Fenced, Ended},
	Ended:     {no, no, no, no, no, no, no, no, no, no, Ended, Ended},
}
