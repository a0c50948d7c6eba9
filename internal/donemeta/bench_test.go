package donemeta

import "testing"

// The goal: 2 µs for a window of 1,024, nothing allocated.
func BenchmarkDonemeta(b *testing.B) {
	for name, runs := range map[string][]Run{
		"window 1024, alternating":   alternating(bound.Base, 1024),
		"window 1024, one open":      {{bound.Base + 1, bound.Base + 1023}},
		"window 24264, alternating":  alternating(bound.Base, MaxSpan),
		"1000 runs over 10M offsets": spread(bound.Base, 1000, 10_000),
	} {
		text, _ := Append(nil, bound, runs)
		asString := string(text)
		b.Run(name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, MaxText)
			for b.Loop() {
				buf, _ = Append(buf[:0], bound, runs)
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]Run, 0, len(runs))
			for b.Loop() {
				dst, _ = Parse(asString, bound, dst[:0])
			}
		})
	}
}
