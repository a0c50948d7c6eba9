package consumer

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A topic may be called "in": its name alone before "partition" reads as a word of the sentence.
func TestErrorsNameTheirTopic(t *testing.T) {
	why := errors.New("why")
	for _, err := range []error{
		&HaltError{Topic: "in", Partition: 3, Offset: 7, LostFrom: -1, LostTo: -1, Err: why},
		&WaitingError{Topic: "in", Partition: 3, Since: time.Now(), Err: why},
	} {
		if !strings.Contains(err.Error(), "consumer: topic in partition 3 ") || !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
	}
}
