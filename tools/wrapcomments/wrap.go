package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	columns = 100
	tab     = 4
)

// wrap returns the source with its too wide paragraphs wrapped, and the lines where these began.
func wrap(source []byte) (wrapped []byte, wide []int, err error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, "", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	if ast.IsGenerated(tree) {
		return source, nil, nil
	}
	lines := strings.SplitAfter(string(source), "\n")
	ours := map[int]bool{} // lines, from 0, that are a // comment and nothing else
	for _, group := range tree.Comments {
		for _, c := range group.List {
			n := files.Position(c.Pos()).Line - 1
			if strings.HasPrefix(c.Text, "//") && strings.HasPrefix(strings.TrimLeft(lines[n], "\t "), "//") {
				ours[n] = true
			}
		}
	}
	var out bytes.Buffer
	for n := 0; n < len(lines); {
		end := paragraph(lines, ours, n)
		if end == n {
			out.WriteString(lines[n])
			n++
			continue
		}
		if !tooWide(lines[n:end]) {
			out.WriteString(strings.Join(lines[n:end], ""))
		} else if text := fill(lines[n:end]); text == strings.Join(lines[n:end], "") {
			out.WriteString(text) // a word that is too wide by itself
		} else {
			wide = append(wide, n+1)
			out.WriteString(text)
		}
		n = end
	}
	return out.Bytes(), wide, nil
}

// paragraph is where the paragraph that begins at line n ends; n if none begins there.
func paragraph(lines []string, ours map[int]bool, n int) int {
	end := n
	for ours[end] && isProse(lines[end]) && margin(lines[end]) == margin(lines[n]) {
		end++
	}
	// Text under a list item, without an indent of its own, belongs to the item.
	if n > 0 && ours[n-1] && listItem.MatchString(lines[n-1]) {
		return n
	}
	return end
}

var (
	listItem  = regexp.MustCompile(`^\s*//\s*([-*+•]|[0-9]+[.)])\s`)
	directive = regexp.MustCompile(`^\s*//([a-z0-9]+:[a-z0-9]|line |export |extern |nolint\b|\s*\+build\b|\s*Output:|\s*Unordered output:|\s*want\s+["` + "`" + `])`)
	link      = regexp.MustCompile(`^\s*// \[[^\]]+\]: `)
)

// isProse tells whether a comment's line is text that may be wrapped: one blank, then a word. A
// heading, a table, an item of a list, a link's target, a directive and what is indented are not.
func isProse(line string) bool {
	text, ok := strings.CutPrefix(strings.TrimLeft(line, "\t "), "// ")
	text = strings.TrimRight(text, "\r\n")
	switch {
	case !ok || text == "" || text[0] == ' ' || text[0] == '\t' || text[0] == '#' || text[0] == '|':
		return false
	case listItem.MatchString(line), directive.MatchString(line), link.MatchString(line):
		return false
	}
	return true
}

func margin(line string) string { return line[:len(line)-len(strings.TrimLeft(line, "\t "))] }

func width(text string) int {
	return utf8.RuneCountInString(text) + strings.Count(text, "\t")*(tab-1)
}

func tooWide(lines []string) bool {
	for _, line := range lines {
		if width(strings.TrimRight(line, "\r\n")) > columns {
			return true
		}
	}
	return false
}

// fill wraps a paragraph. A line never begins with what would make it something else than prose.
func fill(lines []string) string {
	ending := "\n"
	if strings.HasSuffix(lines[0], "\r\n") {
		ending = "\r\n"
	}
	head := margin(lines[0]) + "//"
	var words []string
	for _, line := range lines {
		words = append(words, strings.Fields(strings.TrimLeft(line, "\t ")[2:])...)
	}
	var out strings.Builder
	row := head
	for i, word := range words {
		if row != head && width(row)+1+width(word) > columns && isProse(head+" "+strings.Join(words[i:min(i+3, len(words))], " ")) {
			out.WriteString(row + ending)
			row = head
		}
		row += " " + word
	}
	out.WriteString(row)
	if strings.HasSuffix(lines[len(lines)-1], "\n") {
		out.WriteString(ending)
	}
	return out.String()
}
