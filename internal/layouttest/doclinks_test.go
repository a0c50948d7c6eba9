package layouttest

import (
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"regexp"
	"strings"
	"testing"
)

// unlinked is what a doc link that resolves to nothing leaves in the text.
var unlinked = regexp.MustCompile(`(?:^|[^\w\]])\[\*?(?:[a-z]\w*\.)?[A-Z]\w*(?:\.[A-Z]\w*)?\]`)

// documented are the packages with code, by directory, as go doc reads them, and what each exports.
func documented(t *testing.T) (docs map[string]*doc.Package, exported map[string]map[string]bool) {
	t.Helper()
	docs, exported = map[string]*doc.Package{}, map[string]map[string]bool{}
	for dir, fs := range packages(t) {
		var syntax []*ast.File
		for _, f := range fs {
			if f.test {
				continue
			}
			// A syntax of its own: go/doc takes away what is not exported.
			own, err := parser.ParseFile(fset, f.path, f.source, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			syntax = append(syntax, own)
		}
		if len(syntax) == 0 {
			continue
		}
		p, err := doc.NewFromFiles(fset, syntax, module+"/"+dir)
		if err != nil {
			t.Fatal(err)
		}
		docs[dir], exported[dir] = p, symbols(p)
	}
	return docs, exported
}

// Each [link] in the documentation of a public package leads to a name that is there, in this
// package or in another one that a user can see.
func TestDocLinksResolve(t *testing.T) {
	docs, exported := documented(t)
	links := 0
	for _, dir := range public {
		p := docs[dir]
		if p == nil {
			t.Errorf("%s has no code", dir)
			continue
		}
		eachDoc(p, func(of, text string) {
			for _, b := range p.Parser().Parse(text).Content {
				eachText(b, func(piece comment.Text) {
					switch piece := piece.(type) {
					case comment.Plain:
						if bad := unlinked.FindString(string(piece)); bad != "" {
							t.Errorf("%s: %s: the link %s leads nowhere", dir, of, bad)
						}
					case *comment.DocLink:
						links++
						checkDocLink(t, dir, of, piece, exported)
					}
				})
			}
		})
	}
	if links < 10 {
		t.Errorf("%d doc links found: is the search broken?", links)
	}
}

var qualified = regexp.MustCompile(`\b(admin|consumer|consumertest|pipeline|pipelinetest|producer|producertest|sidecar|sidecartest)\.([A-Z]\w*(?:\.[A-Z]\w*)?)`)

// A page that names something of a public package names what is there.
func TestDocsNameRealSymbols(t *testing.T) {
	_, exported := documented(t)
	found := 0
	for _, p := range pages(t) {
		if p.path == "CHANGELOG.md" { // it tells what is gone, too
			continue
		}
		for _, at := range inlineCode.FindAllStringSubmatchIndex(p.prose, -1) {
			for _, m := range qualified.FindAllStringSubmatch(p.prose[at[2]:at[3]], -1) {
				found++
				dir := m[1]
				if kit, ok := strings.CutSuffix(dir, "test"); ok {
					dir = kit + "/" + dir
				}
				if !exported[dir][m[2]] {
					t.Errorf("%s: package %s has no %s", p.at(at[0]), m[1], m[2])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d names of public packages found in the pages: is the search broken?", found)
	}
}

func checkDocLink(t *testing.T, dir, of string, link *comment.DocLink, exported map[string]map[string]bool) {
	t.Helper()
	to := dir
	if link.ImportPath != "" {
		rest, ours := strings.CutPrefix(link.ImportPath, module+"/")
		if !ours {
			return
		}
		to = rest
	}
	if name := strings.TrimPrefix(link.Recv+"."+link.Name, "."); name != "" && !exported[to][name] {
		t.Errorf("%s: %s: the link to %s.%s leads nowhere", dir, of, to, name)
	}
}

// symbols are the names of a package that a link may lead to: Type, Type.Method, Type.Field, Func.
func symbols(p *doc.Package) map[string]bool {
	all := map[string]bool{}
	funcs := func(recv string, list []*doc.Func) {
		for _, f := range list {
			all[recv+f.Name] = true
		}
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			for _, name := range v.Names {
				all[name] = true
			}
		}
	}
	funcs("", p.Funcs)
	values(p.Consts)
	values(p.Vars)
	for _, typ := range p.Types {
		all[typ.Name] = true
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
		values(typ.Consts)
		values(typ.Vars)
		ast.Inspect(typ.Decl, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				for _, name := range field.Names {
					all[typ.Name+"."+name.Name] = true
				}
			}
			return true
		})
	}
	return all
}

// eachDoc calls fn with what go doc shows: the comments of the package, of its exported names, and
// within the types.
func eachDoc(p *doc.Package, fn func(of, text string)) {
	fn("package", p.Doc)
	funcs := func(list []*doc.Func) {
		for _, f := range list {
			fn(f.Name, f.Doc)
		}
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			fn(v.Names[0], v.Doc)
		}
	}
	funcs(p.Funcs)
	values(p.Consts)
	values(p.Vars)
	for _, typ := range p.Types {
		fn(typ.Name, typ.Doc)
		ast.Inspect(typ.Decl, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				fn(typ.Name, field.Doc.Text())
			}
			return true
		})
		funcs(typ.Funcs)
		funcs(typ.Methods)
		values(typ.Consts)
		values(typ.Vars)
	}
}

// eachText calls fn with the pieces of a block's text, those of its lists included.
func eachText(b comment.Block, fn func(comment.Text)) {
	switch b := b.(type) {
	case *comment.Paragraph:
		for _, piece := range b.Text {
			fn(piece)
		}
	case *comment.Heading:
		for _, piece := range b.Text {
			fn(piece)
		}
	case *comment.List:
		for _, item := range b.Items {
			for _, inner := range item.Content {
				eachText(inner, fn)
			}
		}
	}
}

// notForUsers finds what only a reader of the source can follow: files, invariants by number. (What
// internal packages export is found by their names.)
var notForUsers = regexp.MustCompile(`\b\w+\.go\b|\bS(?:[1-9]|1[0-2])\b|\bfault \d+\b|\b(?:[a-z]+Mu)\b`)

// speakingInward are documented names whose text does so still; a line goes when it does not.
var speakingInward = map[string]bool{
	"sidecar Config": true,
}

// go doc of a public package speaks to who imports it: what one can only understand with the source
// open stands in the source, or in DESIGN.md.
func TestPublicDocsSpeakToUsers(t *testing.T) {
	docs, _ := documented(t)
	var inner []string
	for dir := range docs {
		if within(dir, "internal") {
			inner = append(inner, docs[dir].Name)
		}
	}
	hidden := regexp.MustCompile(`\b(?:` + strings.Join(inner, "|") + `)\.[A-Z]\w*`)
	inward := map[string]bool{}
	for _, dir := range public {
		eachDoc(docs[dir], func(of, text string) {
			bad := notForUsers.FindString(text)
			if bad == "" {
				bad = hidden.FindString(text)
			}
			if bad == "" {
				return
			}
			key := dir + " " + of
			if inward[key] = true; !speakingInward[key] {
				t.Errorf("the documentation of %s says %q, which its reader does not know: say it in words, or in a comment inside the code", key, bad)
			}
		})
	}
	for key := range speakingInward {
		if !inward[key] {
			t.Errorf("doclinks_test.go: %s speaks to users: take it out of speakingInward", key)
		}
	}
}
