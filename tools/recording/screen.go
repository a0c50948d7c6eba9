//go:build linux

package main

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// screen is as much of a terminal as our commands use: lines that scroll, the cursor up, erasing,
// bold and eight colours.
type screen struct {
	rows, columns int
	cells         [][]cell
	row, column   int
	style         style
	rest          string // an escape sequence, or a rune, that has not come whole
}

type cell struct {
	r rune
	style
}

type style struct {
	bold   bool
	colour int // 0: none, else 30 to 37
}

// span is text of one style.
type span struct {
	column int
	text   string
	style
}

func newScreen(rows, columns int) *screen {
	s := &screen{rows: rows, columns: columns}
	for range rows {
		s.cells = append(s.cells, s.blank())
	}
	return s
}

func (s *screen) blank() []cell { return slices.Repeat([]cell{{r: ' '}}, s.columns) }

func (s *screen) write(text string) {
	for text = s.rest + text; text != ""; {
		size := token(text)
		if size == 0 {
			break
		}
		s.do(text[:size])
		text = text[size:]
	}
	s.rest = text
}

// token is how long the first rune or escape sequence is; 0 if it has not come whole.
func token(text string) int {
	if text[0] == '\x1b' {
		return 1 + strings.IndexFunc(text, func(r rune) bool { return r >= '@' && r <= '~' && r != '[' })
	}
	if !utf8.FullRuneInString(text) {
		return 0
	}
	_, size := utf8.DecodeRuneInString(text)
	return size
}

func (s *screen) do(token string) {
	r, _ := utf8.DecodeRuneInString(token)
	switch r {
	case '\x1b':
		s.escape(strings.TrimPrefix(token[1:len(token)-1], "["), token[len(token)-1])
	case '\r':
		s.column = 0
	case '\n':
		s.newline()
	default:
		if s.column == s.columns {
			s.newline()
		}
		s.cells[s.row][s.column] = cell{r, s.style}
		s.column++
	}
}

func (s *screen) newline() {
	s.column = 0
	if s.row++; s.row == s.rows {
		s.cells = append(slices.Delete(s.cells, 0, 1), s.blank())
		s.row--
	}
}

func (s *screen) escape(arguments string, command byte) {
	n, _ := strconv.Atoi(arguments)
	switch command {
	case 'A':
		s.row = max(0, s.row-max(n, 1))
	case 'K':
		copy(s.cells[s.row][s.column:], s.blank())
	case 'J':
		copy(s.cells[s.row][s.column:], s.blank())
		for row := s.row + 1; row < s.rows; row++ {
			s.cells[row] = s.blank()
		}
	case 'm':
		switch {
		case n == 0:
			s.style = style{}
		case n == 1:
			s.style.bold = true
		case n >= 30 && n <= 37:
			s.style.colour = n
		}
	}
}

// lines are the screen as spans, without what is blank.
func (s *screen) lines() [][]span {
	lines := make([][]span, s.rows)
	for row, cells := range s.cells {
		var spans []span
		for column := 0; column < s.columns; {
			end := column + 1
			for end < s.columns && cells[end].style == cells[column].style {
				end++
			}
			text := ""
			for _, c := range cells[column:end] {
				text += string(c.r)
			}
			if strings.TrimSpace(text) != "" {
				left := len(text) - len(strings.TrimLeft(text, " "))
				spans = append(spans, span{column + left, strings.TrimSpace(text), cells[column].style})
			}
			column = end
		}
		lines[row] = spans
	}
	return lines
}

// text is the screen as it can be read in an error.
func (s *screen) text() string {
	var b strings.Builder
	for _, cells := range s.cells {
		line := ""
		for _, c := range cells {
			line += string(c.r)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return strings.Trim(b.String(), "\n")
}
