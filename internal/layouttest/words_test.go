package layouttest

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// named is a name that the product has: of a package-level declaration, a method or a field.
type named struct {
	name string
	pos  token.Pos
	fn   bool // a function or method
}

// product tells the files whose names and comments a stranger reads to understand Ackmark.
func product(f *file) bool {
	return !f.test && !f.generated && !slices.ContainsFunc(proof, func(p string) bool { return within(f.dir, p) })
}

// names are the exported and package-level names of the product: types with their fields and
// methods, functions, variables, constants.
func names(t *testing.T) (all []named) {
	t.Helper()
	for _, f := range allFiles(t) {
		if !product(f) {
			continue
		}
		add := func(ids ...*ast.Ident) {
			for _, id := range ids {
				if id.Name != "_" {
					all = append(all, named{name: id.Name, pos: id.Pos()})
				}
			}
		}
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				all = append(all, named{d.Name.Name, d.Name.Pos(), true})
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						add(spec.Names...)
					case *ast.TypeSpec:
						add(spec.Name)
						ast.Inspect(spec.Type, func(n ast.Node) bool {
							switch n := n.(type) {
							case *ast.StructType:
								for _, field := range n.Fields.List {
									add(field.Names...)
								}
							case *ast.InterfaceType:
								for _, method := range n.Methods.List {
									add(method.Names...)
								}
							}
							return true
						})
					}
				}
			}
		}
	}
	if len(all) < 2000 {
		t.Fatalf("only %d names found in the product", len(all))
	}
	return all
}

// words splits a name: ackMark and AckMark into ack, mark; TLSFiles into tls, files; AllowUIDs into
// allow, uids. Digits are no part of a word.
func words(name string) []string {
	runes := []rune(plural.ReplaceAllStringFunc(name, strings.ToUpper))
	var all []string
	word := ""
	for i, r := range runes {
		begins := unicode.IsUpper(r) && (i == 0 || !unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins || !unicode.IsLetter(r) {
			all, word = append(all, word), ""
		}
		if unicode.IsLetter(r) {
			word += strings.ToLower(string(r))
		}
	}
	return slices.DeleteFunc(append(all, word), func(w string) bool { return len(w) < 2 })
}

// plural finds the s of UIDs, which begins no word.
var plural = regexp.MustCompile(`[A-Z]{2}s\b`)

// forms are what a word may be a form of: stays and stayed of stay, retried of retry, unread of
// read.
func forms(word string) []string {
	all := []string{word}
	for _, prefix := range []string{"un", "re", "non", "over"} {
		if rest, ok := strings.CutPrefix(word, prefix); ok && len(rest) > 2 {
			all = append(all, rest)
		}
	}
	for _, w := range slices.Clone(all) {
		for _, suffix := range []string{"s", "es", "d", "ed", "ing", "er", "ers", "r", "rs", "able", "ly"} {
			rest, ok := strings.CutSuffix(w, suffix)
			if !ok || len(rest) < 2 {
				continue
			}
			all = append(all, rest, rest+"e")
			if n := len(rest); rest[n-1] == rest[n-2] {
				all = append(all, rest[:n-1]) // dropped, of drop
			}
			if strings.HasSuffix(rest, "i") {
				all = append(all, rest[:len(rest)-1]+"y") // retried, of retry
			}
		}
	}
	return all
}

// vocabulary is what a name may be made of.
type vocabulary struct {
	known  map[string]bool   // DESIGN.md's words, and those that a stranger knows
	banned map[string]string // a word, or "=name" for the whole name of a function, to what to say instead
}

// judge says what is wrong with a name, nil if nothing is, and whether it is that a word is banned.
func (v vocabulary) judge(name string, fn bool) (err error, banned bool) {
	if instead := v.banned["="+name]; fn && instead != "" {
		return fmt.Errorf("the name %s says too little: %s", name, instead), true
	}
	for _, word := range words(name) {
		for _, form := range forms(word) {
			if instead := v.banned[form]; instead != "" {
				return fmt.Errorf("%q in %s is a word that only we know: say %s", word, name, instead), true
			}
		}
	}
	for _, word := range words(name) {
		if !slices.ContainsFunc(forms(word), func(form string) bool { return v.known[form] }) {
			return fmt.Errorf("%q in %s is neither in DESIGN.md (Words) nor in internal/layouttest/testdata/words.txt: "+
				"say it with a word that is there; if every Go programmer knows it, add it to words.txt, and if it is an idea of ours, to DESIGN.md", word, name), false
		}
	}
	return nil, false
}

// Names are made of the glossary's words, and of words that a stranger knows. What still has
// another one stands in testdata/still.txt until it is renamed.
func TestNamesAreMadeOfWordsThatAStrangerKnows(t *testing.T) {
	v := theVocabulary(t)
	still := map[string]bool{}
	for _, name := range lines(t, "still.txt") {
		still[name] = true
	}
	needed := map[string]bool{}
	for _, n := range names(t) {
		switch err, banned := v.judge(n.name, n.fn); {
		case banned && still[n.name]:
			needed[n.name] = true
		case err != nil:
			t.Errorf("%s: %v", fset.Position(n.pos), err)
		}
	}
	for _, name := range keys(still) {
		if !needed[name] {
			t.Errorf("internal/layouttest/testdata/still.txt: nothing is named %s any more: take the line away", name)
		}
	}
}

func theVocabulary(t *testing.T) vocabulary {
	t.Helper()
	v := vocabulary{known: map[string]bool{}, banned: map[string]string{}}
	for _, word := range lines(t, "words.txt") {
		if v.known[word] {
			t.Errorf("words.txt has %q twice", word)
		}
		v.known[word] = true
	}
	for _, line := range lines(t, "banned.txt") {
		word, instead, ok := strings.Cut(line, ": ")
		if !ok || instead == "" {
			t.Errorf("banned.txt: %q is not of the form \"word: what to say instead\"", line)
		}
		if v.known[word] {
			t.Errorf("%q is in words.txt and in banned.txt", word)
		}
		v.banned[word] = instead
	}
	for _, e := range glossary(t) {
		for _, word := range words(e.term) {
			v.known[word] = true
		}
	}
	return v
}

// lines are the lines of a file in testdata, without empty ones and comments.
func lines(t *testing.T, name string) (all []string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// entry is a term of DESIGN.md's glossary, and whether its table is the proof's.
type entry struct {
	term  string
	proof bool
	line  int
}

// glossary reads the tables of DESIGN.md's "Words".
func glossary(t *testing.T) (all []entry) {
	t.Helper()
	inside, table := false, ""
	n := 0
	for line := range strings.Lines(string(read(t, "DESIGN.md"))) {
		n++
		line = strings.TrimSpace(line)
		switch cells := strings.Split(line, "|"); {
		case strings.HasPrefix(line, "## "):
			inside = line == "## Words"
		case !inside || line == "":
		case len(cells) < 4:
			table = line
		case strings.TrimSpace(cells[1]) != "word" && !strings.HasPrefix(cells[1], "---"):
			terms, _, _ := strings.Cut(cells[1], "(")
			for term := range strings.SplitSeq(terms, ",") {
				all = append(all, entry{strings.TrimSpace(term), table == "In the proof:", n})
			}
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d words found in DESIGN.md: is there a section Words, with tables?", len(all))
	}
	return all
}

// A glossary has the words that are used, and no others. Those of the proof are the proof's.
func TestEveryWordOfTheGlossaryIsUsed(t *testing.T) {
	var ours, proofs strings.Builder
	for _, f := range allFiles(t) {
		to := &ours
		if !product(f) {
			to = &proofs
		}
		for _, group := range f.syntax.Comments {
			to.WriteString(" ; " + strings.Join(strings.Fields(group.Text()), " "))
		}
	}
	for _, n := range names(t) {
		ours.WriteString(" ; " + strings.Join(words(n.name), " "))
	}
	v, still := theVocabulary(t), lines(t, "still.txt")
	for _, e := range glossary(t) {
		text := ours.String()
		if e.proof {
			text += proofs.String()
		}
		if !uses(e.term).MatchString(text) {
			t.Errorf("DESIGN.md:%d: no name and no comment has the word %q: take it out of the glossary, or say what the code calls it", e.line, e.term)
		}
		for _, word := range words(e.term) {
			instead := v.banned[word]
			if instead != "" && !slices.ContainsFunc(still, func(name string) bool { return slices.ContainsFunc(words(name), isFormOf(word)) }) {
				t.Errorf("DESIGN.md:%d: no name may have the word %q, and none has it any more: take it out of the glossary (it is: %s)", e.line, word, instead)
			}
		}
	}
}

func isFormOf(word string) func(string) bool {
	return func(w string) bool { return slices.Contains(forms(w), word) }
}

// uses finds a term in text, in any of its forms.
func uses(term string) *regexp.Regexp {
	if len(term) == 1 { // W and C are no words in small letters
		return regexp.MustCompile(`\b` + term + `\b`)
	}
	parts := regexp.MustCompile(`[ -]+`).Split(regexp.QuoteMeta(term), -1)
	return regexp.MustCompile(`(?i)\b` + strings.Join(parts, `[ -]?`) + `(s|es|d|ed)?\b`)
}

func TestTheWordCheckSeesDialect(t *testing.T) {
	v := vocabulary{
		known:  map[string]bool{"ack": true, "mark": true, "retry": true, "drop": true, "read": true, "letter": true, "dead": true},
		banned: map[string]string{"stay": "assignment", "bury": "close", "=dead": "say of what"},
	}
	for name, want := range map[string]string{
		"AckMark": "", "retriedMarks": "", "DROPPED": "", "unreadMark2": "", "DeadLetter": "",
		"Dead": "", "lostStays": "say assignment", "buried": "say close", "dead": "say of what", "ackMrak": "words.txt",
	} {
		err, banned := v.judge(name, true)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || banned != strings.HasPrefix(want, "say") {
			t.Errorf("%s: %v, banned %v; want %q", name, err, banned, want)
		}
	}
	for name, want := range map[string]string{
		"TLSFiles": "tls files", "SO_PEERPIDFD": "so peerpidfd", "AllowUIDs": "allow uids", "DefaultTLS": "default tls", "haltErrorV2": "halt error", "x": "",
	} {
		if got := strings.Join(words(name), " "); got != want {
			t.Errorf("%s is the words %q, want %q", name, got, want)
		}
	}
	for term, text := range map[string]string{"ack mark": "its ack marks", "done-set": "a Done-set.", "stay": "staying", "W": "w"} {
		if want := term != "stay" && term != "W"; uses(term).MatchString(text) != want {
			t.Errorf("%q in %q: want %v", term, text, want)
		}
	}
}
