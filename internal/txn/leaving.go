package txn

// Leaving is a release that is waited for.
type Leaving struct {
	left int // of them; under their Claims' mu
	done chan struct{}
}

// Done is closed when every unit of the released assignments is decided.
func (l *Leaving) Done() <-chan struct{} { return l.done }

// Over tells that it is closed.
func (l *Leaving) Over() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *Leaving) leave() {
	if l.left--; l.left == 0 {
		close(l.done)
	}
}
