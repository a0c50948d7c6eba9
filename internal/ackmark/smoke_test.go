package ackmark

import "testing"

func TestSmoke(t *testing.T) {
	tr := New(5, 1000)
	for i := range 500 {
		tr.Add(int64(10+i*2), 3)
	}
	if tr.Mark() != 10 {
		t.Fatal(tr.Mark())
	}
	tr.Done(1)
	tr.DoneRange(100, 200)
	for a, b := range tr.DoneSet() {
		t.Log(a, b)
	}
	tr.Done(0)
	if tr.Mark() != 14 {
		t.Fatal(tr.Mark())
	}
	tr.DoneRange(0, 1<<40)
	if tr.Mark() != 10+499*2+1 || tr.Pending() != 0 || tr.PendingBytes() != 0 {
		t.Fatal(tr.Mark(), tr.Pending(), tr.PendingBytes())
	}
}
