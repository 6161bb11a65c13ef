package web

import (
	"bytes"
	"html/template"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

// card is a model's card, if it has one.
type card struct {
	HTML template.HTML // clean
}

// cardRenderer turns a card, which is Markdown from a stranger, into HTML that
// can stand in a page of ours.
type cardRenderer struct {
	markdown goldmark.Markdown
	policy   *bluemonday.Policy
}

func newCardRenderer() *cardRenderer {
	policy := bluemonday.NewPolicy()
	policy.AllowElements("h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote",
		"ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "sub", "sup", "kbd")
	policy.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	policy.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|right|center)$`)).OnElements("th", "td")
	policy.AllowAttrs("href").OnElements("a")
	policy.AllowURLSchemes("http", "https", "mailto")
	policy.AllowRelativeURLs(false) // there is nothing of the model's folder here
	policy.RequireParseableURLs(true)
	policy.RequireNoFollowOnLinks(true)
	policy.RequireNoReferrerOnLinks(true)
	return &cardRenderer{
		markdown: goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithASTTransformers())),
		policy:   policy,
	}
}

// title is a card's first heading, of the first level: the page has its own.
var title = regexp.MustCompile(`(?s)^\s*<h1[^>]*>.*?</h1>`)

// A header without words is read out as nothing; it is a cell.
var emptyHeader = regexp.MustCompile(`<th( align="[a-z]+")?></th>`)

var heading = regexp.MustCompile(`<(/?)h([1-5])([ >])`)

// render makes a card's HTML. Pictures are left out: they would be of other
// hosts, or of a folder that isn't there.
func (c *cardRenderer) render(source []byte) (template.HTML, error) {
	var out bytes.Buffer
	if err := c.markdown.Convert(source, &out); err != nil {
		return "", err
	}
	text := title.ReplaceAllString(out.String(), "")
	// A level down: the page's own headings are above these.
	text = heading.ReplaceAllStringFunc(text, func(tag string) string {
		parts := heading.FindStringSubmatch(tag)
		return "<" + parts[1] + "h" + string(parts[2][0]+1) + parts[3]
	})
	text = emptyHeader.ReplaceAllString(text, "<td></td>")
	clean := strings.ReplaceAll(c.policy.Sanitize(text), `rel="nofollow noreferrer"`, `rel="nofollow noreferrer noopener"`)
	return template.HTML(clean), nil // bluemonday has cleaned it
}
