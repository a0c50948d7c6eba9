package wire

import "testing"

// What a session holds is counted by its messages: buffers may not be much larger (S9).
func TestReceivedBuffersAreLessThanTwiceTheirMessage(t *testing.T) {
	for _, size := range []int{513, 4096, 4097, 32<<10 + 1, 64 << 10, 64<<10 + 200, 1 << 20, 4<<20 + 1, 16<<20 + 1} {
		for range 3 { // fresh, then reused
			b := received.Get(size)
			if len(*b) != size {
				t.Fatalf("Get(%d) has %d bytes", size, len(*b))
			}
			if cap(*b) >= 2*size {
				t.Errorf("a message of %d bytes is held in %d", size, cap(*b))
			}
			received.Put(b)
		}
	}
}

func TestSmallAndForeignBuffers(t *testing.T) {
	for _, size := range []int{0, 1, 512} {
		b := received.Get(size)
		if len(*b) != size || cap(*b) != 512 {
			t.Errorf("Get(%d): %d bytes of %d", size, len(*b), cap(*b))
		}
		*b = (*b)[:size/2] // a prefix may come back
		received.Put(b)
	}
	odd := make([]byte, 1000)
	received.Put(&odd) // not ours: dropped
	if b := received.Get(900); cap(*b) != 1024 {
		t.Errorf("a foreign buffer of %d came back", cap(*b))
	}
}
