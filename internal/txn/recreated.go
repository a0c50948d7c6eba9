package txn

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// isRecreated tells that a client met a topic that was deleted and created anew: it fails every
// record of it until it forgets the topic.
func isRecreated(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID)
}

// relearn has the twins forget the topics of an aborted window that were created anew. No record is
// to blame: whether the topic is there is asked before its units are tried again. Nothing is open
// now: of a topic that is forgotten within its transaction the client would not know that it is.
func (l *Lane) relearn(w *window) {
	for _, name := range w.recreated() {
		l.cfg.Log.Warn("an output topic was deleted and created anew: its records go to the new one", "topic", name)
		l.topics.unlearn(name)
		for i := range l.ids.twins {
			if t := &l.ids.twins[i]; t.aside == nil {
				t.client.PurgeTopicsFromProducing(name)
			}
		}
	}
}

// recreated are the topics of a window's records that were created anew, each once.
func (w *window) recreated() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]bool{}
	for _, f := range w.failures {
		if name := f.rec.Topic; isRecreated(f.err) && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// unlearn has a topic asked for again.
func (t *topics) unlearn(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.exist, name)
}
