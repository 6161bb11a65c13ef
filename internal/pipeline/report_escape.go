package pipeline

import (
	"fmt"
	"strings"
)

// markdownText escapes a text for Markdown: it has no markup, no HTML, and
// nothing that GitHub or GitLab make a link of: @name would call somebody, #12
// would leave a mark in another thread.
func markdownText(text string) string {
	const nothing = "\u200b" // a space without width
	text = oneLine(text, 2000)
	var b strings.Builder
	for i, r := range text {
		switch r {
		case '@', '#', '!', '~':
			fmt.Fprintf(&b, "&#%d;%s", r, nothing)
		case '&', '<', '>', '*', '_', '`', '[', ']', '|', '\\':
			fmt.Fprintf(&b, "&#%d;", r)
		case ':':
			b.WriteRune(r)
			if next := text[i+1:]; next != "" && next[0] != ' ' { // no address, no :smile:
				b.WriteString(nothing)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// markdownWords is markdownText of a text in which `this` is code.
func markdownWords(text string) string {
	parts := strings.Split(text, "`")
	if len(parts)%2 == 0 {
		return markdownText(text)
	}
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 && strings.TrimSpace(part) != "" {
			b.WriteString(codeSpan(part))
			continue
		}
		// Spaces at the ends are lost in a text by itself.
		if strings.HasPrefix(part, " ") {
			b.WriteByte(' ')
		}
		if words := strings.TrimSpace(part); words != "" {
			b.WriteString(markdownText(words))
			if strings.HasSuffix(part, " ") {
				b.WriteByte(' ')
			}
		}
	}
	return b.String()
}

// codeSpan writes a text as code, in which nothing has a meaning.
func codeSpan(text string) string {
	text = oneLine(text, 300)
	if text == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") {
		text = " " + text + " "
	}
	return fence + text + fence
}

// cell is codeSpan for a table, whose columns a | would end even there.
func cell(text string) string { return strings.ReplaceAll(codeSpan(text), "|", `\|`) }
