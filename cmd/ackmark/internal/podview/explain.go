package podview

import (
	"fmt"
	"io"

	"github.com/ackmark/ackmark/internal/podstate"
)

// Explain says why the mark of a partition stands where it stands.
func Explain(w io.Writer, pod *podstate.Pod, p *podstate.Partition) {
	o, exactlyOnce := &p.Offsets, inTransactions(pod, p.Session)
	fmt.Fprintf(w, "%s %d, group %s, is held by %s%s: %s\n", text(p.Topic), p.Partition, text(p.Group), text(p.App), process(pod, p.Session), text(string(p.State)))
	if p.Reason != "" {
		fmt.Fprintf(w, "  why         %s\n", text(p.Reason))
	}
	fmt.Fprintf(w, "  ack mark    %s", offset(o.AckMark))
	switch {
	case o.AckMark < 0:
	case o.Committed < 0:
		fmt.Fprint(w, "; nothing is known of the commit")
	case o.Committed == o.AckMark:
		fmt.Fprint(w, ", committed")
	case exactlyOnce:
		fmt.Fprintf(w, "; %d is committed, the rest follows with its transaction", o.Committed)
	default:
		fmt.Fprintf(w, "; %d is committed, the rest follows within CommitEvery", o.Committed)
	}
	fmt.Fprintln(w)
	if exactlyOnce {
		x := pod.Transactions()
		fmt.Fprintf(w, "  commits     exactly-once, in the transactions of %s: %s, %d committed, %d aborted; %s\n", text(x.ID), text(x.State), x.Committed, x.Aborted, uncommitted(pod))
	}
	if o.LogEnd >= 0 {
		fmt.Fprintf(w, "  log end     %d: %d offsets above the mark, %d done and %d in hand among them\n", o.LogEnd, p.Lag(), p.Counts.DoneAbove, p.Counts.Pending)
	}
	if s := Strip(p, 60); s != "" && p.Counts.DoneAbove > 0 {
		fmt.Fprintf(w, "  fetched     %s (# done, . not, + some, ? not told)\n", s)
	}
	x := p.Oldest
	if x == nil {
		fmt.Fprintln(w, nothingBlocks(p))
		return
	}
	fmt.Fprintf(w, "  blocked by  offset %d", x.Offset)
	if x.Key != "" {
		fmt.Fprintf(w, ", key %s", text(x.Key))
	} else if x.KeyHash != "" {
		fmt.Fprintf(w, ", key with SHA-256 %s…", text(x.KeyHash))
	}
	if !x.Since.IsZero() {
		fmt.Fprintf(w, ", handed out %s ago", Age(p.Age(pod.Time)))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "  where       %s", where(x, exactlyOnce))
	if x.Lane >= 0 {
		fmt.Fprintf(w, ", lane %d", x.Lane)
	}
	if x.Attempt > 0 {
		fmt.Fprintf(w, ", attempt %d", x.Attempt)
	}
	fmt.Fprintln(w)
	if x.Error != "" {
		fmt.Fprintf(w, "  last error  %s\n", text(x.Error))
	}
	soon := ""
	if !x.NextAt.IsZero() && x.NextAt.After(pod.Time) {
		soon = "in " + Age(x.NextAt.Sub(pod.Time)) + ": "
	}
	fmt.Fprintf(w, "  next        %s%s\n", soon, text(x.Next))
}

// inTransactions tells whether a session is committed for in transactions, of which the pod tells.
func inTransactions(pod *podstate.Pod, session string) bool {
	for i := range pod.Sessions {
		if s := &pod.Sessions[i]; s.ID == session {
			return s.ExactlyOnce && pod.Transactions() != nil
		}
	}
	return false
}

func process(pod *podstate.Pod, session string) string {
	for i := range pod.Sessions {
		if s := &pod.Sessions[i]; s.ID == session && s.PID != 0 {
			return fmt.Sprintf(" (pid %d)", s.PID)
		}
	}
	return ""
}

func nothingBlocks(p *podstate.Partition) string {
	o := &p.Offsets
	switch {
	case p.State == podstate.Waiting || p.State == podstate.Halted:
		return "  next        it is tried again, or needs the remedy above"
	case p.State == podstate.Untold:
		return "  next        nothing is on its way through the sidecar; its app does not tell more"
	case o.LogEnd >= 0 && o.Fetched < o.LogEnd:
		return "  next        nothing is in hand; what is there is fetched next"
	}
	return "  next        nothing is in hand: the mark moves with the next input"
}

// where is a stage in words.
func where(x *podstate.Oldest, exactlyOnce bool) string {
	switch x.Stage {
	case podstate.Queued:
		if x.Behind >= 0 {
			return fmt.Sprintf("queued behind offset %d", x.Behind)
		}
		return "queued for a handler"
	case podstate.Handling:
		return "its handler runs"
	case podstate.Retrying:
		return "its handler failed, and waits for the next attempt"
	case podstate.Finished:
		return "handled, and not yet given to the producer"
	case podstate.Redelivering:
		return "handled; its outputs could not be written"
	case podstate.Deciding:
		return "handled; an output was refused"
	case podstate.Delivered:
		if exactlyOnce {
			return "handled, and with the sidecar; its transaction has not ended"
		}
		return "handled, and with the producer; Kafka has not acknowledged it"
	case podstate.Stopped:
		return "its partition stands still here"
	}
	return "received by the sidecar and not done, or not seen by it"
}
