package layouttest

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is one Markdown file: its prose and its headings without blocks of code, and those blocks.
type page struct {
	path   string // from the repository's root, with slashes
	prose  string // lines of code blocks are empty, so that line numbers stay
	blocks []block
}

type block struct {
	language, text string
	line           int
}

// pages reads every Markdown file of the repository.
func pages(t *testing.T) (all []page) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && name != root
		if d.IsDir() && (hidden || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		all = append(all, parsePage(filepath.ToSlash(rel), string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parsePage(name, text string) page {
	p := page{path: name}
	open := false
	var prose []string
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !open:
			p.blocks = append(p.blocks, block{language: fence, line: i + 1})
		case open && !isFence:
			p.blocks[len(p.blocks)-1].text += line + "\n"
		}
		open = open != isFence
		if open || isFence {
			line = ""
		}
		prose = append(prose, line)
	}
	p.prose = strings.Join(prose, "\n")
	return p
}

func (p page) at(offset int) string {
	return fmt.Sprintf("%s:%d", p.path, 1+strings.Count(p.prose[:offset], "\n"))
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	htmlLink     = regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`)
	heading      = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	linkText     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are the names that a heading can be linked by, as GitHub makes them.
func (p page) anchors() (all []string) {
	for _, m := range heading.FindAllStringSubmatch(p.prose, -1) {
		text := strings.ToLower(linkText.ReplaceAllString(m[1], "$1"))
		name := strings.ReplaceAll(notInAnchors.ReplaceAllString(text, ""), " ", "-")
		for n := 1; slices.Contains(all, name); n++ {
			name = fmt.Sprintf("%s-%d", strings.TrimSuffix(name, fmt.Sprintf("-%d", n-1)), n)
		}
		all = append(all, name)
	}
	return all
}

// A link within the repository leads to a file that is there, and to a heading that it has.
func TestLinksResolve(t *testing.T) {
	all := map[string]page{}
	for _, p := range pages(t) {
		all[p.path] = p
	}
	if len(all) < 10 {
		t.Fatalf("only %d Markdown files found: is %s the root?", len(all), root)
	}
	for _, p := range all {
		for _, at := range slices.Concat(markdownLink.FindAllStringSubmatchIndex(p.prose, -1), htmlLink.FindAllStringSubmatchIndex(p.prose, -1)) {
			if err := resolve(all, p, p.prose[at[2]:at[3]]); err != nil {
				t.Errorf("%s: %v", p.at(at[0]), err)
			}
		}
	}
}

func resolve(all map[string]page, from page, link string) error {
	target, anchor, hasAnchor := strings.Cut(link, "#")
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return nil
	}
	to := from.path
	if target != "" {
		to = path.Join(path.Dir(from.path), target)
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(to))); err != nil {
			return fmt.Errorf("the link %q leads to %s, which is not there", link, to)
		}
	}
	if p, isPage := all[to]; hasAnchor && isPage && !slices.Contains(p.anchors(), anchor) {
		return fmt.Errorf("the link %q: %s has no heading %q, only %q", link, to, anchor, p.anchors())
	}
	return nil
}

func TestTheLinkCheckSeesBadLinks(t *testing.T) {
	p := parsePage("docs/x.md", "# A `b`: c, d\n```\n# no heading [x](nowhere.md)\n```\n## Same\n## Same\n")
	all := map[string]page{p.path: p}
	for link, good := range map[string]bool{
		"#a-b-c-d": true, "#same": true, "#same-1": true, "../README.md": true, "https://example.com/#x": true,
		"#no-heading-x": false, "#same-2": false, "nowhere.md": false, "../docs/nowhere": false,
	} {
		if err := resolve(all, p, link); (err == nil) != good {
			t.Errorf("%s: %v", link, err)
		}
	}
	if links := markdownLink.FindAllString(p.prose, -1); links != nil {
		t.Errorf("links in code are no links: %q", links)
	}
}

var testName = regexp.MustCompile(`\bTest[A-Z]\w*`)

// A page that says which test proves it names one that exists.
func TestDocsNameRealTests(t *testing.T) {
	there := map[string]bool{}
	for _, f := range allFiles(t) {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(f.source, -1) {
			there[string(m[1])] = true
		}
	}
	for _, p := range pages(t) {
		for _, at := range testName.FindAllStringIndex(p.prose, -1) {
			if name := p.prose[at[0]:at[1]]; !there[name] {
				t.Errorf("%s: no test is named %s", p.at(at[0]), name)
			}
		}
	}
}

var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// So does a page that says in which file something is.
func TestDocsNameRealFiles(t *testing.T) {
	goFile := regexp.MustCompile(`^[a-z][\w/*-]*/[\w*-]+\.go$`)
	for _, p := range pages(t) {
		for _, at := range inlineCode.FindAllStringSubmatchIndex(p.prose, -1) {
			name := p.prose[at[2]:at[3]]
			if !goFile.MatchString(name) {
				continue
			}
			if found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(name))); err != nil || len(found) == 0 {
				t.Errorf("%s: there is no file %s", p.at(at[0]), name)
			}
		}
	}
}

// faults is how many docs/faults.md has.
const faults = 33

// Every fault that code may cite by its number is in docs/faults.md, once.
func TestEveryFaultIsInTheTable(t *testing.T) {
	text := read(t, "docs/faults.md")
	for n := 1; n <= faults; n++ {
		if got := strings.Count(string(text), fmt.Sprintf("\n| %d | ", n)); got != 1 {
			t.Errorf("docs/faults.md: fault %d stands %d times in its tables, want once", n, got)
		}
	}
}

// compiled are the pages whose Go examples are whole: programs, or declarations that lack only
// their imports.
var compiled = []string{"docs/quickstart.md", "docs/concepts.md", "docs/handlers.md", "docs/operations.md", "docs/faq.md", "docs/exactly-once.md"}

// exampleImports are what an example without a package clause may use.
var exampleImports = []string{
	"bytes", "context", "database/sql", "encoding/json", "errors", "fmt", "log", "log/slog", "net/http", "os", "os/signal", "strings", "syscall", "testing",
	"testing/synctest", "time", "github.com/twmb/franz-go/pkg/kerr", "github.com/twmb/franz-go/pkg/kgo", module + "/consumer", module + "/consumer/consumertest",
	module + "/pipeline", module + "/pipeline/pipelinetest", module + "/producer", module + "/sidecar",
}

func TestExamplesInDocsCompile(t *testing.T) {
	if testing.Short() {
		t.Skip("go vet builds every example: not with -short")
	}
	// A module beside this one, as a user's: each example is a package of it.
	dir := t.TempDir()
	number := 0
	for _, p := range pages(t) {
		if !slices.Contains(compiled, p.path) {
			continue
		}
		pkg := ""
		for _, b := range p.blocks {
			if b.language != "go" {
				continue
			}
			name := fmt.Sprintf("%s_%d", strings.TrimSuffix(path.Base(p.path), ".md"), b.line)
			file := name + ".go"
			if strings.Contains(b.text, "*testing.T)") {
				file = name + "_test.go"
			}
			if !strings.HasPrefix(b.text, "package main") || !strings.HasSuffix(file, "_test.go") || pkg == "" {
				pkg = name // else it is the test of the program above it
			}
			write(t, filepath.Join(dir, pkg, file), example(b.text))
			number++
		}
	}
	if number < 10 {
		t.Fatalf("only %d examples found in %q", number, compiled)
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	ours := string(read(t, "go.mod"))
	write(t, filepath.Join(dir, "go.mod"), strings.Replace(ours, "module "+module, "module examples", 1)+
		fmt.Sprintf("\nrequire %s v0.0.0\nreplace %[1]s => %s\n", module, filepath.ToSlash(here)))
	write(t, filepath.Join(dir, "go.sum"), string(read(t, "go.sum")))
	if out, err := tool(t, ".", "go", "-C", dir, "vet", "-mod=mod", "./..."); err != nil {
		t.Errorf("an example does not compile; its file is named after its page and line: %v\n%s", err, out)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read reads a file of the repository.
func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// example is a block as a file: a package clause and imports in front of declarations that have
// none.
func example(text string) string {
	if strings.HasPrefix(text, "package ") {
		return text
	}
	head := "package example\n\n"
	for _, pkg := range exampleImports {
		if regexp.MustCompile(`\b` + path.Base(pkg) + `\.[A-Z]`).MatchString(text) {
			head += fmt.Sprintf("import %q\n", pkg)
		}
	}
	return head + text
}
