package dataset

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	modelmanager "modelmanager.dev"
)

// xlsxColumns is how many columns a sheet may have.
const xlsxColumns = 16_384

// xlsxDigits is how many digits of a number spreadsheet programs keep: of longer
// ids and card numbers that people typed, the others are zeros.
const xlsxDigits = 15

// xlsxCell is one cell. A cell that is not there is of kind xlsxEmpty.
type xlsxCell struct {
	kind   xlsxKind
	number float64 // of numbers and dates; 1 of true
	text   string  // of texts and errors; of an integer of more digits than a number has, those in the file
}

type xlsxKind uint8

const (
	xlsxEmpty xlsxKind = iota
	xlsxNumber
	xlsxText
	xlsxBool
	xlsxDate    // a number that its style shows as a date
	xlsxFault   // #N/A and the like
	xlsxUnknown // a formula without a value
)

// sheetReader streams a sheet's rows. It takes raw tokens: to resolve namespaces,
// and to compare the names of ends, takes a third of the time, and programs write both well.
type sheetReader struct {
	book   *workbook
	part   io.ReadCloser
	xml    *xml.Decoder
	merges []mergedCells
	ended  bool
	number int // of the row last read; 1 is the sheet's first
	cells  []xlsxCell
	fault  string // why the row can't be used
	tops   map[int]xlsxCell
}

// mergedCells is a merged range; rows and columns are counted from 1 and 0.
type mergedCells struct{ top, bottom, left, right int }

func (w *workbook) open(s sheetPart) (*sheetReader, error) {
	if err := w.loadShared(); err != nil {
		return nil, xlsxError(err)
	}
	merges, err := w.merges(s)
	if err != nil {
		return nil, xlsxError(err)
	}
	part, err := w.part(s.path)
	if err == nil && part == nil {
		err = errors.New("the sheet " + s.name + " is missing in it")
	}
	if err != nil {
		return nil, xlsxError(err)
	}
	return &sheetReader{book: w, part: part, xml: xml.NewDecoder(part), merges: merges, tops: map[int]xlsxCell{}}, nil
}

func (r *sheetReader) close() error { return r.part.Close() }

// next reads the next row that has a cell with something in it. Cells are valid
// until the call after.
func (r *sheetReader) next() ([]xlsxCell, error) {
	for !r.ended {
		token, err := r.xml.RawToken()
		if err != nil {
			if err == io.EOF && r.number == 0 {
				return nil, io.EOF // a sheet without rows
			}
			return nil, cutXLSX(err)
		}
		switch token := token.(type) {
		case xml.EndElement:
			r.ended = token.Name.Local == "sheetData"
		case xml.StartElement:
			if token.Name.Local != "row" {
				continue
			}
			if err := r.book.ctx.Err(); err != nil {
				return nil, err
			}
			filled, err := r.row(token)
			if err != nil {
				return nil, cutXLSX(err)
			}
			r.merge()
			if filled {
				return r.cells, nil
			}
		}
	}
	return nil, io.EOF
}

// cutXLSX is xlsxError where the part may not end.
func cutXLSX(err error) error {
	if err == io.EOF {
		err = errors.New("the sheet ends within its rows")
	}
	return xlsxError(err)
}

// row reads the cells of a row, and tells whether there is one that isn't empty.
func (r *sheetReader) row(start xml.StartElement) (filled bool, err error) {
	r.number++
	if n, err := strconv.Atoi(attribute(start, "r")); err == nil && n > 0 {
		r.number = n
	}
	r.cells, r.fault = r.cells[:0], ""
	for {
		token, err := r.xml.RawToken()
		if err != nil {
			return false, err
		}
		switch token := token.(type) {
		case xml.EndElement:
			if token.Name.Local == "row" {
				return filled, nil
			}
		case xml.StartElement:
			if token.Name.Local != "c" {
				continue
			}
			column := len(r.cells)
			if ref := attribute(token, "r"); ref != "" {
				column, _ = cellPlace(ref)
			}
			if column < len(r.cells) || column >= xlsxColumns {
				return false, errors.New("cells of row " + strconv.Itoa(r.number) + " are out of order")
			}
			cell, err := r.cell(token)
			if err != nil {
				return false, err
			}
			for len(r.cells) < column {
				r.cells = append(r.cells, xlsxCell{})
			}
			r.cells = append(r.cells, cell)
			filled = filled || cell.kind != xlsxEmpty
		}
	}
}

// cell reads to the end of a c element.
func (r *sheetReader) cell(start xml.StartElement) (xlsxCell, error) {
	var raw strings.Builder
	var inline string
	formula, inValue := false, false
	for depth := 1; depth > 0; {
		token, err := r.xml.RawToken()
		if err != nil {
			return xlsxCell{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			switch token.Name.Local {
			case "is":
				if inline, err = richText(r.xml); err != nil {
					return xlsxCell{}, err
				}
				continue
			case "f":
				formula = true
			case "v":
				inValue = true
			}
			depth++
		case xml.EndElement:
			depth--
			inValue = false
		case xml.CharData:
			if inValue {
				raw.Write(token)
			}
		}
	}
	return r.value(start, raw.String(), inline, formula)
}

// value makes sense of a cell's text by its type and style.
func (r *sheetReader) value(start xml.StartElement, raw, inline string, formula bool) (xlsxCell, error) {
	kind := attribute(start, "t")
	if kind == "inlineStr" {
		return textCell(inline), nil
	}
	if raw == "" {
		if formula && kind != "str" {
			return xlsxCell{kind: xlsxUnknown}, nil
		}
		return xlsxCell{}, nil
	}
	switch kind {
	case "s":
		i, err := strconv.Atoi(strings.TrimSpace(raw))
		if err != nil || i < 0 || i >= r.book.shared.len() {
			return xlsxCell{}, errors.New("a cell names a text that isn't there")
		}
		text, err := r.book.shared.at(i)
		return textCell(text), err
	case "str":
		return textCell(unescapeXLSX(raw)), nil
	case "b":
		return xlsxCell{kind: xlsxBool, number: float64(bit(raw == "1" || raw == "true"))}, nil
	case "e":
		return xlsxCell{kind: xlsxFault, text: raw}, nil
	case "d":
		return textCell(raw), nil
	}
	number, err := strconv.ParseFloat(strings.TrimSpace(raw), 64)
	if err != nil {
		return xlsxCell{}, errors.New("a cell has the number " + strconv.Quote(raw))
	}
	if style, err := strconv.Atoi(attribute(start, "s")); err == nil && style >= 0 && style < len(r.book.dates) && r.book.dates[style] {
		return xlsxCell{kind: xlsxDate, number: number}, nil
	}
	cell := xlsxCell{kind: xlsxNumber, number: number}
	if digits := strings.TrimPrefix(raw, "-"); len(digits) > xlsxDigits && strings.Trim(digits, "0123456789") == "" {
		cell.text = raw
	}
	return cell, nil
}

func textCell(text string) xlsxCell {
	if text == "" {
		return xlsxCell{}
	}
	return xlsxCell{kind: xlsxText, text: text}
}

// merge gives the lower cells of a range that was merged downwards the value
// that they show. A range over several columns says nothing about which of
// them has the value: such a row can't be used as data.
func (r *sheetReader) merge() {
	for i, m := range r.merges {
		if r.number < m.top || r.number > m.bottom {
			continue
		}
		if m.left != m.right {
			r.fault = "its cells " + columnName(m.left) + " to " + columnName(m.right) + " are merged over several columns; unmerge them"
			continue
		}
		if r.number == m.top {
			if m.left < len(r.cells) {
				r.tops[i] = r.cells[m.left]
			}
			continue
		}
		for len(r.cells) <= m.left {
			r.cells = append(r.cells, xlsxCell{})
		}
		r.cells[m.left] = r.tops[i]
	}
}

var mergeReference = regexp.MustCompile(`<(?:\w+:)?mergeCell [^>]*ref="([A-Z]+[0-9]+):([A-Z]+[0-9]+)"`)

// merges finds the merged ranges: they stand behind the rows, so that the sheet
// is read through once for them.
func (w *workbook) merges(s sheetPart) ([]mergedCells, error) {
	part, err := w.part(s.path)
	if err != nil || part == nil {
		return nil, err
	}
	defer part.Close()
	rest, err := w.behindRows(part)
	if err != nil {
		return nil, err
	}
	var merges []mergedCells
	for _, match := range mergeReference.FindAllSubmatch(rest, 100_000) {
		left, top := cellPlace(string(match[1]))
		right, bottom := cellPlace(string(match[2]))
		merges = append(merges, mergedCells{top: top, bottom: bottom, left: left, right: right})
	}
	return merges, nil
}

// behindRows returns the beginning of what follows a sheet's rows.
func (w *workbook) behindRows(part io.Reader) ([]byte, error) {
	const most, overlap = 8 << 20, 32
	end := []byte("sheetData>")
	buf, n := make([]byte, 256<<10), 0
	for {
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
		read, err := io.ReadFull(part, buf[n:])
		n += read
		for from := 0; ; {
			i := bytes.Index(buf[from:n], end)
			if i < 0 {
				break
			}
			i += from
			if bytes.Contains(buf[max(i-16, 0):i], []byte("</")) {
				rest, err := io.ReadAll(io.LimitReader(part, most))
				return append(bytes.Clone(buf[i:n]), rest...), err
			}
			from = i + len(end)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		n = copy(buf, buf[n-overlap:n])
	}
}

// cellPlace reads a reference such as B12: column 1, row 12.
func cellPlace(ref string) (column, row int) {
	i := 0
	for ; i < len(ref) && ref[i] >= 'A' && ref[i] <= 'Z' && i < 4; i++ {
		column = column*26 + int(ref[i]-'A') + 1
	}
	row, _ = strconv.Atoi(ref[i:])
	return column - 1, row
}

func columnName(column int) string {
	name := ""
	for column++; column > 0; column = (column - 1) / 26 {
		name = string(rune('A'+(column-1)%26)) + name
	}
	return name
}

// moment turns a date's number into a day and a time of day, to the
// millisecond, which is as exact as the number is.
func (w *workbook) moment(serial float64) (moment, bool) {
	if math.IsNaN(serial) || serial < 0 || serial > 2_958_466 {
		return moment{}, false
	}
	const epoch1900, epoch1904 = -25_569, -24_107 // days from 1970
	day := math.Floor(serial)
	millis := int64(math.Round((serial - day) * 86_400_000))
	days := int32(day)
	if millis == 86_400_000 {
		days, millis = days+1, 0
	}
	switch {
	case w.from04:
		days += epoch1904
	case days < 60:
		days += epoch1900 + 1 // before the 29 February 1900 that only spreadsheets know
	default:
		days += epoch1900
	}
	return moment{days: days, micros: millis * 1000}, true
}

var errNoHeader = modelmanager.Errorf(modelmanager.CodeInvalidInput,
	"the sheet has no rows, not even a header; set input.sheet if another one is meant")
