package tally

import (
	"fmt"
	"math/rand/v2"
)

// textLen is how many places of a text a value may begin at.
const textLen = 4096

// Text is what values are cut from: lower-case words, so that upper-casing has something to do and
// compression not too much.
func Text(size int) []byte {
	text := make([]byte, textLen+size)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = 'a' + byte(random.IntN(26))
	}
	return text
}

// Value is the value of input n.
func Value(text []byte, n, size int) []byte {
	at := n * 2654435761 % textLen
	return append(fmt.Appendf(make([]byte, 0, size), "%0*d", Digits, n), text[at:at+max(0, size-Digits)]...)
}
