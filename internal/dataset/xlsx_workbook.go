package dataset

import (
	"archive/zip"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	modelmanager "modelmanager.dev"
)

// workbook is an .xlsx file: a zip archive of XML parts. Sheets are streamed;
// only the styles, and of the shared texts a bounded part, are held.
type workbook struct {
	ctx    context.Context
	zip    *zip.Reader
	sheets []sheetPart
	shared *sharedStrings // nil until a sheet is opened
	dates  []bool         // per cell style, whether its numbers are dates
	from04 bool           // days count from 1904
}

type sheetPart struct{ name, path string }

func xlsxError(err error) error {
	var known *modelmanager.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput, "reading the workbook: %w; save it again as .xlsx", err)
}

func openWorkbook(ctx context.Context, src Source) (*workbook, error) {
	archive, err := zip.NewReader(newSourceAt(ctx, src), src.Size())
	if err != nil {
		return nil, xlsxError(err)
	}
	w := &workbook{ctx: ctx, zip: archive}
	for _, load := range []func() error{w.loadSheets, w.loadStyles} {
		if err := load(); err != nil {
			return nil, xlsxError(err)
		}
	}
	if len(w.sheets) == 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "the file is a zip archive, but no workbook with sheets; save it as .xlsx")
	}
	return w, nil
}

// part opens a part of the archive; nil if there is none of that name.
func (w *workbook) part(name string) (io.ReadCloser, error) {
	for _, file := range w.zip.File {
		if strings.EqualFold(file.Name, name) {
			return file.Open()
		}
	}
	return nil, nil
}

// each visits the start elements of a part.
func (w *workbook) each(name string, visit func(d *xml.Decoder, e xml.StartElement) error) error {
	part, err := w.part(name)
	if err != nil || part == nil {
		return err
	}
	defer part.Close()
	d := xml.NewDecoder(part)
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e, ok := token.(xml.StartElement); ok {
			if err := visit(d, e); err != nil {
				return err
			}
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (w *workbook) loadSheets() error {
	targets := map[string]string{}
	err := w.each("xl/_rels/workbook.xml.rels", func(_ *xml.Decoder, e xml.StartElement) error {
		if e.Name.Local == "Relationship" && strings.HasSuffix(attribute(e, "Type"), "/worksheet") {
			target := attribute(e, "Target")
			if !strings.HasPrefix(target, "/") {
				target = path.Join("xl", target)
			}
			targets[attribute(e, "Id")] = strings.TrimPrefix(target, "/")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.each("xl/workbook.xml", func(_ *xml.Decoder, e xml.StartElement) error {
		switch e.Name.Local {
		case "workbookPr":
			value := attribute(e, "date1904")
			w.from04 = value == "1" || value == "true"
		case "sheet":
			for _, a := range e.Attr {
				if target, ok := targets[a.Value]; ok && a.Name.Local == "id" {
					w.sheets = append(w.sheets, sheetPart{attribute(e, "name"), target})
				}
			}
		}
		return nil
	})
}

func (w *workbook) loadStyles() error {
	formats := map[string]string{}
	within := ""
	return w.each("xl/styles.xml", func(_ *xml.Decoder, e xml.StartElement) error {
		switch e.Name.Local {
		case "numFmt":
			formats[attribute(e, "numFmtId")] = attribute(e, "formatCode")
		case "cellXfs", "cellStyleXfs", "cellStyles", "dxfs":
			within = e.Name.Local
		case "xf":
			if within == "cellXfs" {
				id := attribute(e, "numFmtId")
				code, custom := formats[id]
				w.dates = append(w.dates, custom && isDateFormat(code) || !custom && isDateNumber(id))
			}
		}
		return nil
	})
}

// isDateNumber knows the number formats that are built in.
func isDateNumber(id string) bool {
	n, err := strconv.Atoi(id)
	return err == nil && (n >= 14 && n <= 22 || n >= 27 && n <= 36 || n >= 45 && n <= 47 || n >= 50 && n <= 58)
}

// isDateFormat tells whether a number format writes days or times: whether it
// has one of their letters outside of quotes, brackets and escapes.
func isDateFormat(code string) bool {
	code, _, _ = strings.Cut(code, ";")
	for i := 0; i < len(code); i++ {
		switch code[i] {
		case '"':
			end := strings.IndexByte(code[i+1:], '"')
			if end < 0 {
				return false
			}
			i += end + 1
		case '\\', '_', '*':
			i++
		case '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 {
				return false
			}
			if inner := strings.ToLower(code[i+1 : i+end]); inner != "" && strings.Trim(inner, "hms") == "" {
				return true
			}
			i += end
		case 'y', 'Y', 'm', 'M', 'd', 'D', 'h', 'H', 's', 'S':
			return true
		}
	}
	return false
}

// loadShared reads the shared texts, once.
func (w *workbook) loadShared() error {
	if w.shared != nil {
		return nil
	}
	w.shared = &sharedStrings{}
	err := w.each("xl/sharedStrings.xml", func(d *xml.Decoder, e xml.StartElement) error {
		if e.Name.Local != "si" {
			return nil
		}
		text, err := richText(d)
		if err != nil {
			return err
		}
		return w.shared.add(text)
	})
	if err != nil {
		return err
	}
	return w.shared.complete()
}

// close frees what the shared texts take on disk.
func (w *workbook) close() {
	if w.shared != nil {
		w.shared.close()
	}
}

// richText reads to the end of an element and joins its t elements, but for
// phonetic hints.
func richText(d *xml.Decoder) (string, error) {
	var text strings.Builder
	depth, inText, phonetic := 1, false, 0
	for depth > 0 {
		token, err := d.RawToken()
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			inText = token.Name.Local == "t"
			if token.Name.Local == "rPh" {
				phonetic++
			}
		case xml.EndElement:
			depth--
			inText = false
			if token.Name.Local == "rPh" {
				phonetic--
			}
		case xml.CharData:
			if inText && phonetic == 0 {
				text.Write(token)
			}
		}
	}
	return unescapeXLSX(text.String()), nil
}

// unescapeXLSX undoes _x000D_, which stands for characters that XML has not.
func unescapeXLSX(text string) string {
	if !strings.Contains(text, "_x") {
		return text
	}
	var out strings.Builder
	for {
		i := strings.Index(text, "_x")
		if i < 0 || len(text) < i+7 {
			break
		}
		code, err := strconv.ParseUint(text[i+2:i+6], 16, 16)
		if err != nil || text[i+6] != '_' || code >= 0xD800 && code < 0xE000 {
			out.WriteString(text[:i+2])
			text = text[i+2:]
			continue
		}
		out.WriteString(text[:i])
		out.WriteRune(rune(code))
		text = text[i+7:]
	}
	return out.String() + text
}

// sheet finds a sheet by its name; "" is the first.
func (w *workbook) sheet(name string) (sheetPart, error) {
	if name == "" {
		return w.sheets[0], nil
	}
	i := slices.IndexFunc(w.sheets, func(s sheetPart) bool { return s.name == name })
	if i >= 0 {
		return w.sheets[i], nil
	}
	var names []string
	for _, s := range w.sheets {
		names = append(names, s.name)
	}
	return sheetPart{}, modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"input.sheet: the workbook has no sheet %q; it has %s", name, listColumns(names))
}
