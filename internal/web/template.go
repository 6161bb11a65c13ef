package web

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pageTemplate is a page's template with the layout that all share.
type pageTemplate struct{ *template.Template }

// shared are the templates that every page can use.
var shared = []string{"templates/layout.html", "templates/parts.html"}

// parseTemplates reads every page's template. A page defines the block "main",
// and whatever blocks of it htmx asks for alone.
func (w *Web) parseTemplates() error {
	common, err := template.New("").Funcs(w.functions()).Option("missingkey=error").ParseFS(templateFiles, shared...)
	if err != nil {
		return err
	}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		return err
	}
	w.templates = map[string]*pageTemplate{}
	for _, file := range files {
		name := "templates/" + file.Name()
		if name == shared[0] || name == shared[1] {
			continue
		}
		own, err := common.Clone()
		if err != nil {
			return err
		}
		if _, err := own.ParseFS(templateFiles, name); err != nil {
			return err
		}
		w.templates[strings.TrimSuffix(path.Base(name), ".html")] = &pageTemplate{own}
	}
	return nil
}

// execute writes a block of a page's template.
func (w *Web) execute(out io.Writer, name, block string, f *frame) error {
	page := w.templates[name]
	if page == nil {
		return fmt.Errorf("there is no template %s", name)
	}
	if err := page.ExecuteTemplate(out, block, f); err != nil {
		return fmt.Errorf("making the page %s: %w", name, err)
	}
	return nil
}
