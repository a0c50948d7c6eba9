//go:build linux

package main

import (
	"fmt"
	"html"
	"strings"
	"time"
	"unicode/utf8"
)

// Of one character, and around all of them.
const (
	width, height = 8.4, 18
	margin        = 16
)

const look = `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#1f2328;white-space:pre}
.w{fill:#f6f8fa;stroke:#d0d7de}.b{font-weight:700}.c31{fill:#cf222e}.c32{fill:#1a7f37}.c33{fill:#9a6700}.c34,.c36{fill:#0969da}.c35{fill:#8250df}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.w{fill:#0d1117;stroke:#30363d}.c31{fill:#ff7b72}.c32{fill:#3fb950}.c33{fill:#d29922}.c34,.c36{fill:#58a6ff}.c35{fill:#bc8cff}}
`

// svg lays the frames side by side on a strip of film, which moves on by one frame at a time. A
// viewer that does not move shows the last one. Lines that come again are there once.
func svg(frames []frame, rows, columns int, last time.Duration) string {
	w, h := int(width*float64(columns))+2*margin, height*rows+2*margin
	total := frames[len(frames)-1].at + last
	var moves, film, lines strings.Builder
	known := map[string]int{}
	for i, f := range frames {
		fmt.Fprintf(&moves, "%.3f%%{transform:translateX(%dpx)}", 100*f.at.Seconds()/total.Seconds(), -i*w)
		fmt.Fprintf(&film, `<g transform="translate(%d)">`, i*w)
		for row, spans := range f.lines {
			if len(spans) == 0 {
				continue
			}
			text := drawn(spans)
			id, seen := known[text]
			if !seen {
				id = len(known)
				known[text] = id
				fmt.Fprintf(&lines, `<g id="l%d">%s</g>`+"\n", id, text)
			}
			fmt.Fprintf(&film, `<use href="#l%d" y="%d"/>`, id, row*height)
		}
		film.WriteString("</g>\n")
	}
	end := -(len(frames) - 1) * w
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="A recording of a terminal"><style>
%s.film{transform:translateX(%dpx);animation:film %.1fs step-end infinite}
@media(prefers-reduced-motion:reduce){.film{animation:none}}
@keyframes film{%s}
</style><defs>
%s</defs><rect class="w" x=".5" y=".5" width="%d" height="%d" rx="8"/><g class="film">
%s</g></svg>
`, w, h, w, h, look, end, total.Seconds(), moves.String(), lines.String(), w-1, h-1, film.String())
}

// drawn are the spans of a line. Their lengths are given, so that any font of the viewer's keeps
// the columns.
func drawn(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		class := ""
		if s.bold {
			class = "b"
		}
		if s.colour > 0 {
			class = strings.TrimSpace(fmt.Sprintf("%s c%d", class, s.colour))
		}
		if class != "" {
			class = fmt.Sprintf(` class="%s"`, class)
		}
		n := utf8.RuneCountInString(s.text)
		fmt.Fprintf(&b, `<text%s x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`,
			class, margin+width*float64(s.column), margin+14, width*float64(n), html.EscapeString(s.text))
	}
	return b.String()
}
