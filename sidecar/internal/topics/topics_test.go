package topics

import "testing"

// Who saw a topic as new, and asks when it is known by then, does not go first: the fate that ends
// the wait for a first record has been told, and his session would wait for it for ever.
func TestNobodyGoesFirstToAKnownTopic(t *testing.T) {
	topic := new(Topic)
	first, mine, err := topic.probe()
	if !mine || err != nil {
		t.Fatalf("the first one does not go first: %v", err)
	}
	if wait, mine, err := topic.probe(); wait != first || mine || err != nil {
		t.Errorf("the second one waits for another: %t, %v", mine, err)
	}
	topic.Known()
	select {
	case <-first:
	default:
		t.Error("who waits is not told that the topic is known")
	}
	if wait, mine, err := topic.probe(); wait != nil || mine || err != nil {
		t.Errorf("the topic is known, and somebody goes first: %t, %v", mine, err)
	}
}
